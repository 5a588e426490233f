// A hash table of numbers, open addressing in one array: the caller keeps the keys, this finds
// which one. Filled while the router is built, then only read; 8 bytes a slot, at most half full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace sluice {

class HashIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  static uint64_t Hash(std::string_view text) { return std::hash<std::string_view>()(text); }
  // A hash of text and number; distributes over all bits.
  static uint64_t Combine(uint64_t hash, uint32_t number) {
    hash = (hash ^ number) * 0x9e3779b97f4a7c15U;
    return hash ^ (hash >> 32);
  }

  // The value with this hash for which `is_equal(value)`, or kNone.
  template <typename IsEqual>
  uint32_t Find(uint64_t hash, IsEqual is_equal) const {
    if (slots_.empty()) return kNone;
    const auto tag = static_cast<uint32_t>(hash);
    for (size_t i = tag & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.value == kNone) return kNone;
      if (slot.tag == tag && is_equal(slot.value)) return slot.value;
    }
  }

  // Precondition: `value` is not kNone and was not inserted before.
  void Insert(uint64_t hash, uint32_t value) {
    if (slots_.empty() || (size_ + 1) * 2 > slots_.size()) Grow();
    ++size_;
    Place({static_cast<uint32_t>(hash), value});
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t value = kNone;
  };

  void Place(Slot slot) {
    size_t i = slot.tag & mask_;
    while (slots_[i].value != kNone) i = (i + 1) & mask_;
    slots_[i] = slot;
  }

  void Grow() {
    std::vector<Slot> old(slots_.empty() ? 8 : slots_.size() * 2);
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.value != kNone) Place(slot);
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace sluice
