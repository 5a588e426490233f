#include "gateway/net/watchers.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <sys/stat.h>
#include <uv.h>

namespace sluice {
namespace {

constexpr uint64_t kFileDebounceMs = 100;

uint64_t ToMilliseconds(Duration duration) {
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return rounded > 0 ? static_cast<uint64_t>(rounded) : 0;
}

// Which file the name leads to now, links followed: a change of any of these is a change of the
// file, whether it was written in place, renamed over, or a link on the way was swapped.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};

  static std::optional<FileIdentity> Of(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileIdentity{status.st_dev, status.st_ino, status.st_size, status.st_mtim};
  }

  friend bool operator==(const FileIdentity& a, const FileIdentity& b) {
    return a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.modified.tv_sec == b.modified.tv_sec && a.modified.tv_nsec == b.modified.tv_nsec;
  }
};

Error UvError(std::string_view what, int error) {
  return GatewayError(ErrorCode::kIo, std::string(what) + ": " + uv_strerror(error));
}

}  // namespace

// Each Handle outlives its owner until the loop has reaped it. The owner's death empties `call`, so
// that a callback that was already due finds nothing to do. A call is copied before it runs: it may
// destroy the owner.

struct Timer::Handle {
  Loop& loop;
  uv_timer_t timer{};
  std::function<void()> call{};

  static void OnTimer(uv_timer_t* timer) {
    auto* handle = static_cast<Handle*>(timer->data);
    Loop& loop = handle->loop;
    const auto call = handle->call;
    if (call) call();
    loop.FlushDirty();
  }
};

Timer::Timer(Loop& loop) : handle_(new Handle{loop}) {
  uv_timer_init(loop.raw(), &handle_->timer);
  handle_->timer.data = handle_;
}

Timer::~Timer() {
  handle_->call = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->timer),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

void Timer::Start(Duration delay, std::function<void()> on_fire) {
  handle_->call = std::move(on_fire);
  // A timer never fires early, but libuv counts from the start of the loop turn, and in whole
  // milliseconds, of which a part has passed.
  uv_update_time(handle_->loop.raw());
  const uint64_t whole = ToMilliseconds(delay);
  uv_timer_start(&handle_->timer, Handle::OnTimer, whole + (whole > 0 ? 1 : 0), 0);
}

void Timer::StartRepeating(Duration interval, std::function<void()> on_fire) {
  handle_->call = std::move(on_fire);
  const uint64_t period = std::max<uint64_t>(ToMilliseconds(interval), 1);
  uv_timer_start(&handle_->timer, Handle::OnTimer, period, period);
}

void Timer::Stop() {
  handle_->call = nullptr;
  uv_timer_stop(&handle_->timer);
}

struct SignalWatcher::Handle {
  Loop& loop;
  uv_signal_t signal{};
  std::function<void()> call{};

  static void OnSignal(uv_signal_t* signal, int /*number*/) {
    auto* handle = static_cast<Handle*>(signal->data);
    Loop& loop = handle->loop;
    const auto call = handle->call;
    if (call) call();
    loop.FlushDirty();
  }
};

SignalWatcher::SignalWatcher(Loop& loop, int signal, std::function<void()> on_signal)
    : handle_(new Handle{loop}) {
  handle_->call = std::move(on_signal);
  uv_signal_init(loop.raw(), &handle_->signal);
  handle_->signal.data = handle_;
  const int error = uv_signal_start(&handle_->signal, Handle::OnSignal, signal);
  SLUICE_CHECK(error == 0);  // fails only for a signal that cannot be caught
}

SignalWatcher::~SignalWatcher() {
  handle_->call = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->signal),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

struct ReadableWatcher::Handle {
  Loop& loop;
  uv_poll_t poll{};
  std::function<void()> call{};

  static void OnPoll(uv_poll_t* poll, int /*status*/, int /*events*/) {
    auto* handle = static_cast<Handle*>(poll->data);
    Loop& loop = handle->loop;
    const auto call = handle->call;  // an error too: reading will name it
    if (call) call();
    loop.FlushDirty();
  }
};

Result<std::unique_ptr<ReadableWatcher>> ReadableWatcher::Make(Loop& loop, int fd,
                                                               std::function<void()> on_readable) {
  auto handle = std::make_unique<Handle>(Handle{loop});
  handle->call = std::move(on_readable);
  if (const int error = uv_poll_init(loop.raw(), &handle->poll, fd); error != 0) {
    return UvError("watch a descriptor", error);
  }
  handle->poll.data = handle.get();
  auto watcher = std::unique_ptr<ReadableWatcher>(new ReadableWatcher(handle.release()));
  watcher->Resume();
  return watcher;
}

ReadableWatcher::~ReadableWatcher() {
  handle_->call = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

void ReadableWatcher::Pause() { uv_poll_stop(&handle_->poll); }

void ReadableWatcher::Resume() {
  uv_poll_start(&handle_->poll, UV_READABLE | UV_DISCONNECT, Handle::OnPoll);
}

struct FileWatcher::Handle {
  Loop& loop;
  std::string path;
  std::optional<FileIdentity> identity{};
  uv_fs_event_t event{};
  uv_timer_t debounce{};
  std::function<void()> call{};
  int open_handles = 0;

  static void OnEvent(uv_fs_event_t* event, const char* /*name*/, int /*events*/, int /*status*/) {
    // Any entry of the directory may matter (a link of a mounted volume is swapped beside the
    // file), so the decision is left to the comparison after the burst.
    auto* handle = static_cast<Handle*>(event->data);
    uv_timer_start(&handle->debounce, OnQuiet, kFileDebounceMs, 0);
  }

  static void OnQuiet(uv_timer_t* timer) {
    auto* handle = static_cast<Handle*>(timer->data);
    auto identity = FileIdentity::Of(handle->path);
    if (identity == handle->identity) return;
    handle->identity = identity;
    Loop& loop = handle->loop;
    const auto call = handle->call;
    if (call) call();
    loop.FlushDirty();
  }

  static void OnHandleClosed(uv_handle_t* closed) {
    auto* handle = static_cast<Handle*>(closed->data);
    if (--handle->open_handles == 0) delete handle;
  }
};

Result<std::unique_ptr<FileWatcher>> FileWatcher::Make(Loop& loop, const std::string& file,
                                                       std::function<void()> on_change) {
  const size_t slash = file.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : file.substr(0, slash);
  auto* handle = new Handle{loop, file};
  handle->identity = FileIdentity::Of(file);
  handle->call = std::move(on_change);
  uv_timer_init(loop.raw(), &handle->debounce);
  uv_fs_event_init(loop.raw(), &handle->event);
  handle->debounce.data = handle->event.data = handle;
  handle->open_handles = 2;
  // From here on the owner's destructor cleans up, also after a failure.
  auto watcher = std::unique_ptr<FileWatcher>(new FileWatcher(handle));
  const int error = uv_fs_event_start(&handle->event, Handle::OnEvent, directory.c_str(), 0);
  if (error != 0) return UvError("watch " + directory, error);
  return watcher;
}

FileWatcher::~FileWatcher() {
  handle_->call = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->event), Handle::OnHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->debounce), Handle::OnHandleClosed);
}

}  // namespace sluice
