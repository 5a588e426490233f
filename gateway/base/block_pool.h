// Small blocks for a C library that takes an allocator and asks for many of them per request: from
// free lists, one for each power of two. For one thread. What is kept is bounded: 512 blocks of
// each size up to 1 KB, at most 1 MB; what was not freed is not its business.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice {

class BlockPool {
 public:
  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // As their namesakes in C: aligned for anything, null when there is no memory.
  void* Allocate(size_t size);
  void* AllocateZero(size_t count, size_t size);
  void* Resize(void* block, size_t size);  // on failure the old block stays
  void Free(void* block);

 private:
  static constexpr size_t kSmallest = 6;  // 64 bytes, with the block's head
  static constexpr size_t kLargest = 10;
  static constexpr uint32_t kMostFree = 512;  // of each size

  struct Head;
  struct List {
    Head* first = nullptr;
    uint32_t count = 0;
  };

  static Head* Take(List& list);

  std::array<List, kLargest - kSmallest + 1> lists_;
};

}  // namespace sluice
