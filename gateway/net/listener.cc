#include "gateway/net/listener.h"

#include <cerrno>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

// Connections taken in one loop turn, so that a storm of new ones does not starve the others.
constexpr int kAcceptBatch = 8;
constexpr Duration kRetryInterval = milliseconds(100);

}  // namespace

Listener::Listener(Loop& loop, int fd, const SocketAddress& address, OnAccept on_accept)
    : loop_(loop), fd_(fd), address_(address), on_accept_(std::move(on_accept)), retry_(loop) {}

Listener::~Listener() {
  Pause();
  close(fd_);
}

void Listener::Pause() {
  retry_.Stop();
  if (!std::exchange(paused_, true)) loop_.Unwatch(fd_, *this);
}

void Listener::Resume() {
  if (!paused_) return;
  // Level-triggered: a queue longer than the batch comes back in the next turn.
  if (loop_.Watch(fd_, EPOLLIN, *this).has_value()) {
    paused_ = false;
  } else {
    retry_.Start(kRetryInterval, [this] { Resume(); });
  }
}

void Listener::OnReady(uint32_t) {
  for (int i = 0; i < kAcceptBatch; ++i) {
    if (paused_ || !AcceptOne()) break;
  }
  loop_.FlushDirty();
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
  retry_.Start(kRetryInterval, [this] { Resume(); });
  return false;
}

}  // namespace sluice
