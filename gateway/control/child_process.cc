#include "gateway/control/child_process.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

// A role that has closed its channel is on its way out.
constexpr Duration kExitPatience = seconds(10);

std::string DescribeExit(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    std::string text = "signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
    if (WCOREDUMP(status)) text += ", core dumped";
    return text;
  }
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeRole(int channel, const char* title, const char* role) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (channel == kChannelFd) {
    fcntl(channel, F_SETFD, 0);
  } else if (dup2(channel, kChannelFd) < 0) {
    _exit(126);
  }
  const char* arguments[] = {title, "--role", role, nullptr};
  execv("/proc/self/exe", const_cast<char**>(arguments));
  _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(Loop& loop, Role role, int index, Observer& observer)
    : loop_(loop),
      role_(role),
      index_(index),
      name_(role == Role::kWorker ? "worker-" + std::to_string(index) : "controller"),
      observer_(observer),
      timer_(loop) {}

Status ChildProcess::Start() {
  SLUICE_CHECK(!is_running());
  SLUICE_ASSIGN_OR_RETURN(auto ends, IpcChannel::MakePair());
  SLUICE_ASSIGN_OR_RETURN(channel_, IpcChannel::Make(loop_, std::move(ends.first), *this));
  const std::string title = "sluice: " + name_;
  const char* role = role_ == Role::kWorker ? "worker" : "controller";
  const pid_t pid = fork();
  if (pid < 0) {
    const int error = errno;
    channel_.reset();
    return SystemError("fork", error);
  }
  if (pid == 0) BecomeRole(ends.second.get(), title.c_str(), role);
  pid_ = pid;
  ready_ = false;
  restart_policy_.OnStarted(MonoNow());
  return {};
}

void ChildProcess::StartLater(Duration delay, std::function<void()> start) {
  timer_.Start(delay, std::move(start));
}

void ChildProcess::Send(MessageType type, std::string_view payload, std::span<const int> fds) {
  if (channel_ == nullptr) return;
  const Status sent = channel_->Send(static_cast<uint32_t>(type), payload, fds);
  if (!sent.has_value()) Kill(sent.error().detail);
}

void ChildProcess::Kill(std::string_view why) {
  if (!is_running()) return;
  Log(LogLevel::kError, "killing a process", {{"name", name_}, {"pid", pid_}, {"why", why}});
  kill(pid_, SIGKILL);
}

void ChildProcess::Reap() {
  if (!is_running()) return;
  int status = 0;
  const pid_t reaped = waitpid(pid_, &status, WNOHANG);
  if (reaped == 0 || (reaped < 0 && errno == EINTR)) return;
  timer_.Stop();
  pid_ = 0;
  ready_ = false;
  channel_.reset();
  observer_.OnChildDied(*this, reaped < 0 ? "reaped by somebody else" : DescribeExit(status));
}

void ChildProcess::OnMessage(IpcMessage message) {
  observer_.OnChildMessage(*this, std::move(message));
}

void ChildProcess::OnChannelClosed(Status why) {
  if (!why.has_value()) return Kill(why.error().detail);
  timer_.Start(kExitPatience, [this] { Kill("it closed its channel and lives on"); });
}

}  // namespace sluice
