// One role as master sees it: a slot whose process is started by fork+exec of this binary, talked
// to over a channel, and started again when it dies. Owned by master for the life of the gateway.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "gateway/base/result.h"
#include "gateway/control/messages.h"
#include "gateway/control/restart_policy.h"
#include "gateway/net/ipc_channel.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"

namespace sluice {

enum class Role : uint8_t { kController, kWorker };

// The descriptor at which a role finds its channel.
inline constexpr int kChannelFd = 3;

class ChildProcess final : public IpcChannel::Observer {
 public:
  class Observer {
   public:
    virtual void OnChildMessage(ChildProcess& child, IpcMessage message) = 0;
    // `how` it ended: "signal 9 (Killed)", "exit status 1".
    virtual void OnChildDied(ChildProcess& child, const std::string& how) = 0;

   protected:
    ~Observer() = default;
  };

  ChildProcess(Loop& loop, Role role, int index, Observer& observer);

  Status Start();
  // Starts again after the delay that its deaths ask for; `start` does what is needed.
  void StartLater(Duration delay, std::function<void()> start);

  // To a process that does not read any more: it is killed, and the death reported as always.
  void Send(MessageType type, std::string_view payload = {}, std::span<const int> fds = {});
  void Kill(std::string_view why);
  // After SIGCHLD: reports the death if it was this one's.
  void Reap();

  Role role() const { return role_; }
  int index() const { return index_; }
  const std::string& name() const { return name_; }  // "worker-0"
  pid_t pid() const { return pid_; }
  bool is_running() const { return pid_ > 0; }
  bool is_ready() const { return ready_; }
  void set_ready() { ready_ = true; }
  RestartPolicy& restart_policy() { return restart_policy_; }

  // IpcChannel::Observer
  void OnMessage(IpcMessage message) override;
  void OnChannelClosed(Status why) override;

 private:
  Loop& loop_;
  const Role role_;
  const int index_;
  const std::string name_;
  Observer& observer_;
  RestartPolicy restart_policy_;
  Timer timer_;  // the back-off of a dead one, the patience with one that closed its channel
  pid_t pid_ = 0;
  bool ready_ = false;
  std::unique_ptr<IpcChannel> channel_;
};

}  // namespace sluice
