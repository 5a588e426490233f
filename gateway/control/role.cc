#include "gateway/control/role.h"

#include <cerrno>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gateway/control/log_files.h"

namespace sluice {

void PrepareRole() {
  for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
    signal(number, SIG_IGN);
  }
  // The program was started as /proc/self/exe, which would be its name in ps and top.
  prctl(PR_SET_NAME, "sluice", 0, 0, 0);
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  dup2(null.get(), STDIN_FILENO);
  dup2(null.get(), STDOUT_FILENO);
}

Status TakeErrorLog(const UniqueFd& fd) {
  SLUICE_TRY(InstallErrorLog(fd));
  if (dup2(fd.get(), STDERR_FILENO) < 0) return SystemError("standard error", errno);
  return {};
}

}  // namespace sluice
