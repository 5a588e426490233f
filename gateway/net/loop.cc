#include "gateway/net/loop.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include "gateway/net/stream.h"
#include "gateway/net/tls_session.h"

namespace sluice {
namespace {

constexpr size_t kReceiveBufferSize = 128 * 1024;
constexpr size_t kScratchReserve = 16 * 1024;
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
  uv_async_t async;
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
  loop->UpdateNow();
  uv_loop_t* raw = loop->raw_.get();
  Handles& handles = *loop->handles_;
  uv_timer_init(raw, &handles.tick);
  handles.tick.data = handles.async.data = loop.get();
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
  // Level-triggered, and no observer: RunTurn knows it by that.
  epoll_event library{.events = EPOLLIN, .data = {.ptr = nullptr}};
  loop->epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_ ||
      epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, uv_backend_fd(raw), &library) != 0) {
    return SystemError("event loop", errno);
  }
  return loop;
}

Loop::~Loop() {
  if (pipe_.read_end >= 0) {
    close(pipe_.read_end);
    close(pipe_.write_end);
  }
  if (raw_ == nullptr) return;
  ReapClosed();
  uv_close(reinterpret_cast<uv_handle_t*>(&handles_->tick), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&handles_->async), nullptr);
  uv_run(raw_.get(), UV_RUN_DEFAULT);
  SLUICE_CHECK(uv_loop_close(raw_.get()) == 0);
}

void Loop::Run() {
  stopped_ = false;
  while (!stopped_) RunTurn();
}

void Loop::Stop() { stopped_ = true; }

void Loop::RunTurn() {
  // libuv answers 0 also when it has descriptors to add to its own epoll set.
  if (library_is_due_ || uv_backend_timeout(raw_.get()) == 0) RunLibrary();
  const bool has_work = stopped_ || !readable_.empty() || !handshakes_.empty() || !closed_.empty();
  const int timeout = has_work ? 0 : uv_backend_timeout(raw_.get());
  const int count = epoll_wait(epoll_.get(), events_.data(), kEventBatch, timeout);
  UpdateNow();
  event_count_ = count > 0 ? static_cast<size_t>(count) : 0;  // a signal: 0
  for (size_t i = 0; i < event_count_; ++i) {
    auto* observer = static_cast<ReadyObserver*>(events_[i].data.ptr);
    if (observer != nullptr) {
      observer->OnReady(events_[i].events);
    } else if (events_[i].events != 0) {
      library_is_due_ = true;
    }
  }
  event_count_ = 0;
  IntrusiveList<Stream, NextTurnTag> readable;
  while (Stream* stream = readable_.PopFront()) readable.PushBack(*stream);
  while (Stream* stream = readable.PopFront()) stream->ReadMore();
  RunHandshakes();
  FlushDirty();
  ReapClosed();
}

// In the order in which they became ready, so that each has its turn.
void Loop::RunHandshakes() {
  for (int i = 0; i < kHandshakesPerTurn; ++i) {
    Stream* stream = handshakes_.PopFront();
    if (stream == nullptr) return;
    stream->Handshake();
    KeepSmall();
  }
}

void Loop::RunLibrary() {
  library_is_due_ = false;
  UpdateNow();
  uv_run(raw_.get(), UV_RUN_NOWAIT);
  FlushDirty();
}

void Loop::ReapClosed() {
  while (Stream* stream = closed_.PopFront()) stream->FinishClose();
}

Status Loop::Watch(int fd, uint32_t events, ReadyObserver& observer) {
  epoll_event event{.events = events, .data = {.ptr = &observer}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return SystemError("watch a descriptor", errno);
}

void Loop::Unwatch(int fd, const ReadyObserver& observer) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (size_t i = 0; i < event_count_; ++i) {
    if (events_[i].data.ptr == &observer) events_[i] = {};
  }
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

void Loop::UpdateNow() {
  uv_update_time(raw_.get());
  now_ = MonoTime(milliseconds(uv_now(raw_.get())));
}

const Loop::Pipe& Loop::pipe() {
  if (pipe_.read_end >= 0) return pipe_;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return pipe_;
  pipe_ = {ends[0], ends[1]};
  // Without the privilege for it the default of 64 KiB works too.
  fcntl(pipe_.write_end, F_SETPIPE_SZ, kPipeSize);
  return pipe_;
}

TlsBuffers& Loop::tls_buffers() {
  if (tls_buffers_ == nullptr) tls_buffers_ = std::make_unique<TlsBuffers>(kReceiveBufferSize);
  return *tls_buffers_;
}

LentPieces* Loop::TakePieces() {
  if (free_pieces_.empty()) return new LentPieces();
  LentPieces* pieces = free_pieces_.back().release();
  free_pieces_.pop_back();
  return pieces;
}

void Loop::GivePieces(LentPieces* pieces) {
  pieces->count = pieces->kept = 0;
  free_pieces_.emplace_back(pieces);
}

void Loop::FlushDirty() {
  // Flushing may close one stream and make output for another.
  while (true) {
    if (OutputSource* source = sources_.PopFront()) {
      source->OnTurnEnd();
    } else if (OutputSource* kept_source = kept_sources_.PopFront()) {
      kept_source->OnTurnEnd();
    } else if (Stream* stream = dirty_.PopFront()) {
      stream->Flush();
    } else if (Stream* kept_stream = kept_.PopFront()) {
      kept_stream->Flush();
    } else {
      break;
    }
  }
  scratch_.Reset();
}

void Loop::KeepSmall() {
  while (OutputSource* source = sources_.PopFront()) {
    kept_sources_.PushBack(*source);
    source->OnCallbackEnd();
  }
  while (Stream* stream = dirty_.PopFront()) {
    if (stream->KeepOutput()) kept_.PushBack(*stream);
  }
  if (scratch_.left() < kScratchReserve) FlushDirty();
}

}  // namespace sluice
