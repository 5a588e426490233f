// A bump allocator for what lives as long as one exchange: header copies, normalised paths. Owned
// by the exchange; Reset keeps the first block, so a recycled exchange allocates nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sluice {

class Arena {
 public:
  explicit Arena(size_t block_size = 4096) : block_size_(block_size) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Unaligned bytes, uninitialised. Never null.
  char* Allocate(size_t size) {
    if (size > left_) Grow(size);
    char* out = next_;
    next_ += size;
    left_ -= size;
    return out;
  }

  // Aligned bytes, uninitialised.
  void* AllocateAligned(size_t size, size_t alignment) {
    char* const raw = Allocate(size + alignment - 1);
    const auto address = reinterpret_cast<uintptr_t>(raw);
    return raw + ((alignment - address % alignment) % alignment);
  }

  // `count` default values of a type that needs no destructor.
  template <typename T>
  T* AllocateArray(size_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    T* const first = static_cast<T*>(AllocateAligned(count * sizeof(T), alignof(T)));
    std::uninitialized_value_construct_n(first, count);
    return first;
  }

  std::string_view Copy(std::string_view text) {
    if (text.empty()) return {};
    char* out = Allocate(text.size());
    std::memcpy(out, text.data(), text.size());
    return {out, text.size()};
  }

  size_t left() const { return left_; }  // before it has to grow

  void Reset() {
    if (first_ == nullptr) return;
    more_.clear();
    next_ = first_.get();
    left_ = block_size_;
  }

 private:
  void Grow(size_t size) {
    if (first_ == nullptr) {
      first_ = std::make_unique_for_overwrite<char[]>(block_size_);
      next_ = first_.get();
      left_ = block_size_;
      if (size <= left_) return;
    }
    left_ = std::max(size, block_size_);
    more_.push_back(std::make_unique_for_overwrite<char[]>(left_));
    next_ = more_.back().get();
  }

  size_t block_size_;
  char* next_ = nullptr;
  size_t left_ = 0;
  std::unique_ptr<char[]> first_;  // of the nominal size, so that Reset knows it
  std::vector<std::unique_ptr<char[]>> more_;
};

}  // namespace sluice
