// One end of the conversation between master and a role: small typed messages with descriptors over
// a UNIX SOCK_SEQPACKET pair. Sending never blocks: what the kernel does not take waits in a
// bounded queue. Owned by the role that talks; dies with it. What comes in is checked like any
// other input.
//
//   frame: | type u32 | payload size u32 | payload … |   descriptors by SCM_RIGHTS
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"
#include "gateway/net/loop.h"

namespace sluice {

struct IpcMessage {
  uint32_t type = 0;
  std::string payload;
  std::vector<UniqueFd> fds;
};

class IpcChannel {
 public:
  static constexpr size_t kMaxPayload = 64 * 1024;
  static constexpr size_t kMaxFds = 8;
  static constexpr size_t kMaxQueued = 4096;  // messages

  class Observer {
   public:
    // Either may destroy the channel.
    virtual void OnMessage(IpcMessage message) = 0;
    // Called once: the peer is gone (an Ok status) or broke the protocol. Nothing comes after it.
    virtual void OnChannelClosed(Status why) = 0;

   protected:
    ~Observer() = default;
  };

  // Two connected ends, both close-on-exec.
  static Result<std::pair<UniqueFd, UniqueFd>> MakePair();

  // Takes `fd` over. `observer` must outlive the channel.
  static Result<std::unique_ptr<IpcChannel>> Make(Loop& loop, UniqueFd fd, Observer& observer);
  ~IpcChannel();

  // Sends, or queues, a message; the descriptors stay the caller's and may be closed after the
  // call. Fails when the queue is full, which means that the peer has stopped reading, or when the
  // message is larger than a frame may be.
  Status Send(uint32_t type, std::string_view payload = {}, std::span<const int> fds = {});
  bool is_idle() const;  // nothing is queued

 private:
  struct Handle;
  explicit IpcChannel(Handle* handle) : handle_(handle) {}
  Handle* handle_;
};

}  // namespace sluice
