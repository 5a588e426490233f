// A listening socket of a worker: accepts and hands descriptors on. When descriptors run out it
// pauses instead of spinning; the queue waits in the kernel. Owned by whoever serves the socket;
// destroying it closes the worker's copy of the descriptor.
#pragma once

#include <functional>

#include "gateway/base/address.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"

namespace sluice {

class Listener final : public ReadyObserver {
 public:
  // Gets a connected, non-blocking descriptor and must take it over.
  using OnAccept = std::function<void(int fd, const SocketAddress& peer)>;

  // Takes `fd`, a listening socket, over. Starts paused: call Resume.
  Listener(Loop& loop, int fd, const SocketAddress& address, OnAccept on_accept);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void Pause();
  void Resume();
  const SocketAddress& address() const { return address_; }

  // Accepts what is queued now (before the listener is closed for good).
  void AcceptQueued();

 private:
  void OnReady(uint32_t events) override;
  bool AcceptOne();  // false: nothing is queued, or no descriptor is free

  Loop& loop_;
  const int fd_;
  const SocketAddress address_;
  const OnAccept on_accept_;
  Timer retry_;
  bool paused_ = true;
  MonoTime last_warning_{};
};

}  // namespace sluice
