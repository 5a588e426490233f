#include "gateway/control/log_files.h"

#include <cerrno>
#include <filesystem>

#include <fcntl.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

Result<UniqueFd> OpenLog(const std::string& path) {
  if (path == "stderr" || path == "stdout") {
    UniqueFd fd(fcntl(path == "stderr" ? STDERR_FILENO : STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd) return SystemError("log to " + path, errno);
    return fd;
  }
  SLUICE_TRY(MakeParentDirectory(path));
  // O_NONBLOCK only for the opening itself: a FIFO without a reader is an error and not a halt.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
  UniqueFd fd(open(path.c_str(), kFlags | O_NONBLOCK, 0640));
  if (!fd) return SystemError("open " + path, errno);
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return SystemError("open " + path, errno);
  }
  return fd;
}

}  // namespace

Result<LogFiles> LogFiles::Open(const ProcessSettings& settings) {
  LogFiles logs;
  SLUICE_ASSIGN_OR_RETURN(logs.error, OpenLog(settings.error_log));
  if (!settings.access_log.empty()) {
    SLUICE_ASSIGN_OR_RETURN(logs.access, OpenLog(settings.access_log));
  }
  return logs;
}

Status InstallErrorLog(const UniqueFd& fd) {
  static UniqueFd installed;
  if (!installed) {
    installed.Reset(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!installed) return SystemError("error log", errno);
    SetLogOutput(installed.get());
    return {};
  }
  if (dup3(fd.get(), installed.get(), O_CLOEXEC) < 0) return SystemError("error log", errno);
  return {};
}

Status MakeParentDirectory(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  if (parent.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) {
    return GatewayError(ErrorCode::kIo, "create " + parent.string() + ": " + error.message());
  }
  return {};
}

}  // namespace sluice
