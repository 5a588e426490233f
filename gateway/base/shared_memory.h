// Memory that master makes and hands to its roles as a descriptor: zero at the start, of a size
// that nobody can change (a shrunk file would make its readers die). Pages that were never written
// take no memory. Unmapped with the object.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

class SharedMemory {
 public:
  enum class Access { kRead, kReadWrite };

  // `name` is for errors and /proc/PID/maps: "endpoint table".
  static Result<SharedMemory> Make(const char* name, size_t size);
  // What another process made; an error when it is not of that size.
  static Result<SharedMemory> Map(const UniqueFd& fd, const char* name, size_t size,
                                  Access access = Access::kReadWrite);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  ~SharedMemory();

  const UniqueFd& fd() const { return fd_; }  // of Make: to hand to roles
  std::byte* data() const { return bytes_.data(); }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit SharedMemory(std::span<std::byte> bytes) : bytes_(bytes) {}

  UniqueFd fd_;
  std::span<std::byte> bytes_;
};

}  // namespace sluice
