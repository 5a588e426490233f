#include "gateway/base/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

namespace sluice {

struct alignas(std::max_align_t) BlockPool::Head {
  union {
    Head* next;   // while the block is free
    size_t size;  // of the whole block, while it is used
  };
  size_t bits;  // of a size that is kept; larger otherwise
};

BlockPool::~BlockPool() {
  for (List& list : lists_) {
    while (Head* head = Take(list)) ::operator delete(head);
  }
}

void* BlockPool::Allocate(size_t size) {
  if (size > SIZE_MAX / 2) return nullptr;
  size += sizeof(Head);
  const size_t bits = std::max<size_t>(kSmallest, std::bit_width(size - 1));
  const bool is_kept = bits <= kLargest;
  if (is_kept) size = size_t{1} << bits;
  Head* head = is_kept ? Take(lists_[bits - kSmallest]) : nullptr;
  if (head == nullptr) head = static_cast<Head*>(::operator new(size, std::nothrow));
  if (head == nullptr) return nullptr;
  head->size = size;
  head->bits = bits;
  return head + 1;
}

void* BlockPool::AllocateZero(size_t count, size_t size) {
  size_t all = 0;
  if (__builtin_mul_overflow(count, size, &all)) return nullptr;
  void* block = Allocate(all);
  if (block != nullptr) std::memset(block, 0, all);
  return block;
}

void* BlockPool::Resize(void* block, size_t size) {
  if (block == nullptr) return Allocate(size);
  const size_t room = (static_cast<Head*>(block) - 1)->size - sizeof(Head);
  if (size <= room) return block;
  void* larger = Allocate(size);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, room);
  Free(block);
  return larger;
}

void BlockPool::Free(void* block) {
  if (block == nullptr) return;
  Head* head = static_cast<Head*>(block) - 1;
  if (head->bits > kLargest) return ::operator delete(head);
  List& list = lists_[head->bits - kSmallest];
  if (list.count == kMostFree) return ::operator delete(head);
  head->next = std::exchange(list.first, head);
  ++list.count;
}

BlockPool::Head* BlockPool::Take(List& list) {
  Head* head = list.first;
  if (head == nullptr) return nullptr;
  list.first = head->next;
  --list.count;
  return head;
}

}  // namespace sluice
