#include "gateway/control/role.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/control/child_process.h"
#include "gateway/control/log_files.h"

namespace sluice {

std::unique_ptr<Loop> BeginRole(std::string_view name) {
  for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
    signal(number, SIG_IGN);
  }
  // The program was started as /proc/self/exe, which would be its name in ps and top.
  prctl(PR_SET_NAME, "sluice", 0, 0, 0);
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  dup2(null.get(), STDIN_FILENO);
  dup2(null.get(), STDOUT_FILENO);
  SetLogRole(name);
  auto loop = Loop::Make();
  if (loop.has_value()) return std::move(*loop);
  Log(LogLevel::kError, "no event loop", {{"reason", loop.error().detail}});
  return nullptr;
}

std::unique_ptr<IpcChannel> OpenChannel(Loop& loop, IpcChannel::Observer& observer) {
  auto channel = IpcChannel::Make(loop, UniqueFd(kChannelFd), observer);
  if (channel.has_value()) return std::move(*channel);
  Log(LogLevel::kError, "no channel to master", {{"reason", channel.error().detail}});
  return nullptr;
}

void LogRefusedMessage(uint32_t type, const Error& why) {
  Log(LogLevel::kError, "cannot do what master says", {{"message", type}, {"reason", why.detail}});
}

Status TakeErrorLog(const UniqueFd& fd) {
  SLUICE_TRY(InstallErrorLog(fd));
  if (dup2(fd.get(), STDERR_FILENO) < 0) return SystemError("standard error", errno);
  return {};
}

}  // namespace sluice
