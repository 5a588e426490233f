#include "gateway/net/listener.h"

#include <cerrno>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

// Connections taken in one loop turn, so that a storm of new ones does not starve the others.
constexpr int kAcceptBatch = 8;
constexpr uint64_t kRetryMillis = 100;

}  // namespace

struct Listener::Handle {
  uv_poll_t poll;
  uv_timer_t retry;
  Listener* owner;
  int open_handles = 2;

  static void OnReadable(uv_poll_t* poll, int status, int) {
    auto* self = static_cast<Handle*>(poll->data);
    if (status < 0) return;
    Loop& loop = self->owner->loop_;
    for (int i = 0; i < kAcceptBatch; ++i) {
      if (self->owner->paused_ || !self->owner->AcceptOne()) break;
    }
    loop.FlushDirty();
  }
  static void OnClose(uv_handle_t* handle) {
    auto* self = static_cast<Handle*>(handle->data);
    if (--self->open_handles == 0) delete self;
  }
};

Listener::Listener(Loop& loop, int fd, const SocketAddress& address, OnAccept on_accept)
    : loop_(loop), fd_(fd), address_(address), on_accept_(std::move(on_accept)) {}

Result<std::unique_ptr<Listener>> Listener::Make(Loop& loop, int fd, const SocketAddress& address,
                                                 OnAccept on_accept) {
  auto listener = std::unique_ptr<Listener>(new Listener(loop, fd, address, std::move(on_accept)));
  auto handle = std::make_unique<Handle>();
  const int error = uv_poll_init(loop.raw(), &handle->poll, fd);
  if (error != 0) return SystemError("listen on " + address.ToString(), -error);
  uv_timer_init(loop.raw(), &handle->retry);
  handle->poll.data = handle->retry.data = handle.get();
  handle->owner = listener.get();
  listener->handle_ = handle.release();
  return listener;
}

Listener::~Listener() {
  if (handle_ != nullptr) {
    handle_->owner = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll), Handle::OnClose);
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_->retry), Handle::OnClose);
  }
  close(fd_);
}

void Listener::Pause() {
  paused_ = true;
  uv_poll_stop(&handle_->poll);
  uv_timer_stop(&handle_->retry);
}

void Listener::Resume() {
  paused_ = false;
  uv_poll_start(&handle_->poll, UV_READABLE, Handle::OnReadable);
}

void Listener::AcceptQueued() {
  while (AcceptOne()) {
  }
}

bool Listener::AcceptOne() {
  sockaddr_storage storage;
  socklen_t size = sizeof(storage);
  const int fd =
      accept4(fd_, reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    on_accept_(fd, SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&storage), size));
    return true;
  }
  if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) {
    // EAGAIN: the queue is empty. ECONNABORTED, EINTR and errors of that one connection: go on
    // with the next event.
    return false;
  }
  if (loop_.now() - last_warning_ >= seconds(1)) {
    last_warning_ = loop_.now();
    Log(LogLevel::kWarn, "accepting is paused: no file descriptor is free",
        {{"listen", address_.ToString()}, {"errno", errno}});
  }
  Pause();
  uv_timer_start(
      &handle_->retry,
      [](uv_timer_t* timer) { static_cast<Handle*>(timer->data)->owner->Resume(); }, kRetryMillis,
      0);
  return false;
}

}  // namespace sluice
