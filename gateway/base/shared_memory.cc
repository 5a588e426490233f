#include "gateway/base/shared_memory.h"

#include <cerrno>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice {

Result<SharedMemory> SharedMemory::Make(const char* name, size_t size) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return SystemError(std::string("memory for ") + name, errno);
  }
  SLUICE_ASSIGN_OR_RETURN(SharedMemory made, Map(fd, name, size));
  made.fd_ = std::move(fd);
  return made;
}

Result<SharedMemory> SharedMemory::Map(const UniqueFd& fd, const char* name, size_t size,
                                       Access access) {
  struct stat found {};
  if (fstat(fd.get(), &found) != 0) return SystemError(name, errno);
  if (found.st_size != static_cast<off_t>(size)) {
    return GatewayError(ErrorCode::kInternal, std::string(name) + ": expected memory of " +
                                                  std::to_string(size) + " bytes, got " +
                                                  std::to_string(found.st_size));
  }
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* memory = mmap(nullptr, size, protection, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return SystemError(std::string("map ") + name, errno);
  return SharedMemory({static_cast<std::byte*>(memory), size});
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace sluice
