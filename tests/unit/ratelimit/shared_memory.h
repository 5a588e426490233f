// Memory that fork()ed children share with their parent, and children that work on it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <span>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice::ratelimit {

class SharedMemory {
 public:
  explicit SharedMemory(size_t size)
      : size_(size),
        at_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (at_ == MAP_FAILED) std::abort();
  }
  ~SharedMemory() { munmap(at_, size_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(at_), size_}; }
  template <typename T>
  T& as() const {
    return *static_cast<T*>(at_);
  }

 private:
  size_t size_;
  void* at_;
};

// Runs `work(i)` in `count` processes at one time.
template <typename Work>
std::vector<pid_t> Fork(int count, Work work) {
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      work(i);
      _exit(0);
    }
    children.push_back(child);
  }
  return children;
}

inline void Await(const std::vector<pid_t>& children) {
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace sluice::ratelimit
