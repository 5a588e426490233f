#include "gateway/control/pid_file.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/stat.h>

namespace sluice {
namespace {

struct flock WholeFile(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<std::optional<pid_t>> PidFile::FindMaster(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return std::optional<pid_t>();
    return SystemError("open " + path, errno);
  }
  // Asking for a read lock shows only a writer: the lock cannot be faked by a reader of the file.
  struct flock lock = WholeFile(F_RDLCK);
  if (fcntl(fd.get(), F_GETLK, &lock) != 0) return SystemError("lock of " + path, errno);
  if (lock.l_type == F_UNLCK) return std::optional<pid_t>();
  return std::optional<pid_t>(lock.l_pid);
}

Result<std::unique_ptr<PidFile>> PidFile::Make(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::optional<pid_t> master, FindMaster(path));
  if (master.has_value()) {
    return GatewayError(ErrorCode::kIo, "a gateway is running already: process " +
                                            std::to_string(*master) + " holds " + path);
  }
  const std::string fresh = path + "." + std::to_string(getpid());
  UniqueFd fd(open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return SystemError("create " + fresh, errno);
  const auto fail = [&](const std::string& what, int error) {
    unlink(fresh.c_str());
    return SystemError(what, error);
  };
  struct flock lock = WholeFile(F_WRLCK);
  if (fcntl(fd.get(), F_SETLK, &lock) != 0) return fail("lock " + fresh, errno);
  const std::string text = std::to_string(getpid()) + "\n";
  const ssize_t written = write(fd.get(), text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    return fail("write " + fresh, written < 0 ? errno : ENOSPC);
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) return fail("rename to " + path, errno);
  return std::unique_ptr<PidFile>(new PidFile(path, std::move(fd)));
}

PidFile::~PidFile() {
  struct stat ours {};
  struct stat there {};
  const bool same = fstat(fd_.get(), &ours) == 0 && stat(path_.c_str(), &there) == 0 &&
                    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
  if (same) unlink(path_.c_str());
}

}  // namespace sluice
