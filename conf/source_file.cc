#include "conf/source_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice::conf {
namespace {

Error TooLarge(const std::string& path, size_t limit) {
  return GatewayError(ErrorCode::kInvalidConfig,
                      path + ": expected at most " + std::to_string(limit) + " bytes, got more");
}

Result<std::string> ReadAll(int fd, const std::string& path, size_t limit) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return SystemError("stat " + path, errno);
  if (!S_ISREG(status.st_mode)) {
    return GatewayError(ErrorCode::kInvalidConfig, path + ": expected a regular file");
  }
  if (static_cast<uint64_t>(status.st_size) > limit) return TooLarge(path, limit);
  std::string text;
  // The size may be wrong: the file may be changing, or be one of /proc.
  while (text.size() <= limit) {
    const size_t used = text.size();
    text.resize(used + (used == 0 ? static_cast<size_t>(status.st_size) + 1 : 65536));
    const ssize_t count = read(fd, text.data() + used, text.size() - used);
    const int error_number = errno;
    text.resize(used + (count > 0 ? static_cast<size_t>(count) : 0));
    if (count == 0) return text;
    if (count < 0 && error_number != EINTR) return SystemError("read " + path, error_number);
  }
  return TooLarge(path, limit);
}

}  // namespace

Result<std::string> ReadRegularFile(const std::string& path, size_t limit) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return SystemError("open " + path, errno);
  auto text = ReadAll(fd, path, limit);
  close(fd);
  return text;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

std::string ResolvePath(const std::string& directory, const std::string& path) {
  return path.starts_with('/') ? path : directory + path;
}

}  // namespace sluice::conf
