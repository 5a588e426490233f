// A number in shared memory that one process writes and any may read: no locked instruction, and
// what a process has counted stays when it dies.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice {

class Tally {
 public:
  // By the one writer.
  void Add(uint64_t count = 1) { Set(value() + count); }
  void Subtract(uint64_t count = 1) { Set(value() - count); }
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }

  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(Tally) == sizeof(uint64_t));

}  // namespace sluice
