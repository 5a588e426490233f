#include "gateway/net/loop.h"

#include <utility>

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include "gateway/net/stream.h"

namespace sluice {
namespace {

constexpr size_t kReceiveBufferSize = 128 * 1024;
constexpr int kPipeSize = 1024 * 1024;

struct OffLoopWork {
  uv_work_t request;
  std::function<void()> work;
  std::function<void()> done;
};

void OnWork(uv_work_t* request) { static_cast<OffLoopWork*>(request->data)->work(); }

void OnWorkDone(uv_work_t* request, int) {
  const std::unique_ptr<OffLoopWork> work(static_cast<OffLoopWork*>(request->data));
  work->done();
}

}  // namespace

struct Loop::Handles {
  uv_timer_t tick;
  uv_check_t check;
  uv_async_t async;
  bool stopped = false;
};

Loop::Loop()
    : raw_(std::make_unique<uv_loop_t>()),
      handles_(std::make_unique<Handles>()),
      deadlines_(MonoNow()),
      receive_buffer_(kReceiveBufferSize) {}

std::string Loop::Library() { return std::string("libuv ") + uv_version_string(); }

Result<std::unique_ptr<Loop>> Loop::Make() {
  auto loop = std::unique_ptr<Loop>(new Loop());
  const auto fail = [](std::string_view what, int error) {
    return GatewayError(ErrorCode::kIo, std::string(what) + ": " + uv_strerror(error));
  };
  if (const int error = uv_loop_init(loop->raw_.get()); error != 0) {
    loop->raw_.reset();
    return fail("event loop", error);
  }
  uv_loop_t* raw = loop->raw_.get();
  Handles& handles = *loop->handles_;
  uv_timer_init(raw, &handles.tick);
  uv_check_init(raw, &handles.check);
  handles.tick.data = handles.check.data = handles.async.data = loop.get();
  const int error = uv_async_init(raw, &handles.async, [](uv_async_t* handle) {
    static_cast<Loop*>(handle->data)->RunPosted();
  });
  SLUICE_CHECK(error == 0);
  const auto tick = static_cast<uint64_t>(DeadlineWheel::kTick / milliseconds(1));
  uv_timer_start(
      &handles.tick,
      [](uv_timer_t* handle) {
        auto* self = static_cast<Loop*>(handle->data);
        self->deadlines_.Advance(self->now());
        self->FlushDirty();
      },
      tick, tick);
  uv_check_start(&handles.check,
                 [](uv_check_t* handle) { static_cast<Loop*>(handle->data)->FlushDirty(); });
  return loop;
}

Loop::~Loop() {
  if (pipe_.read_end >= 0) {
    close(pipe_.read_end);
    close(pipe_.write_end);
  }
  if (raw_ == nullptr) return;
  uv_close(reinterpret_cast<uv_handle_t*>(&handles_->tick), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&handles_->check), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&handles_->async), nullptr);
  uv_run(raw_.get(), UV_RUN_DEFAULT);
  SLUICE_CHECK(uv_loop_close(raw_.get()) == 0);
}

void Loop::Run() {
  handles_->stopped = false;
  while (!handles_->stopped && uv_run(raw_.get(), UV_RUN_DEFAULT) != 0) {
  }
}

void Loop::Stop() {
  handles_->stopped = true;
  uv_stop(raw_.get());
}

void Loop::Post(std::function<void()> task) {
  {
    const std::scoped_lock lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  uv_async_send(&handles_->async);
}

void Loop::RunPosted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::scoped_lock lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (const auto& task : tasks) task();
  FlushDirty();
}

void Loop::RunOffLoop(std::function<void()> work, std::function<void()> done) {
  auto item = std::make_unique<OffLoopWork>();
  item->request.data = item.get();
  item->work = std::move(work);
  item->done = std::move(done);
  const int error = uv_queue_work(raw_.get(), &item->request, OnWork, OnWorkDone);
  SLUICE_CHECK(error == 0);
  static_cast<void>(item.release());  // OnWorkDone takes it back
}

MonoTime Loop::now() const { return MonoTime(milliseconds(uv_now(raw_.get()))); }

const Loop::Pipe& Loop::pipe() {
  if (pipe_.read_end >= 0) return pipe_;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return pipe_;
  pipe_ = {ends[0], ends[1]};
  // Without the privilege for it the default of 64 KiB works too.
  fcntl(pipe_.write_end, F_SETPIPE_SZ, kPipeSize);
  return pipe_;
}

LentPieces* Loop::TakePieces() {
  if (free_pieces_.empty()) return new LentPieces();
  LentPieces* pieces = free_pieces_.back().release();
  free_pieces_.pop_back();
  return pieces;
}

void Loop::GivePieces(LentPieces* pieces) {
  pieces->count = 0;
  free_pieces_.emplace_back(pieces);
}

void Loop::FlushDirty() {
  while (Stream* stream = dirty_.PopFront()) stream->Flush();
  scratch_.Reset();
}

}  // namespace sluice
