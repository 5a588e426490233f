#include "plugins/support/verified_tokens.h"

#include <algorithm>
#include <bit>

namespace sluice::plugins {

VerifiedTokens::VerifiedTokens(size_t capacity)
    : slots_(std::bit_ceil(std::max(capacity, kWays))), set_mask_(slots_.size() / kWays - 1) {}

// A set is kept in the order of use, the latest first.
void VerifiedTokens::MoveToFront(Slot* set, size_t index) {
  std::rotate(set, set + index, set + index + 1);
}

std::optional<VerifiedTokens::Entry> VerifiedTokens::Find(const Hash128& name, int64_t now) {
  Slot* const set = SetOf(name);
  for (size_t i = 0; i < kWays; ++i) {
    if (set[i].entry.until == 0 || set[i].name != name) continue;
    if (now >= set[i].entry.until) {
      set[i] = {};
      return std::nullopt;
    }
    // Before its time only when the clock was set back: verified again, which refuses it.
    if (now < set[i].entry.from) return std::nullopt;
    MoveToFront(set, i);
    return set[0].entry;
  }
  return std::nullopt;
}

void VerifiedTokens::Insert(const Hash128& name, const Entry& entry) {
  if (entry.until <= 0) return;
  Slot* const set = SetOf(name);
  size_t index = kWays - 1;
  for (size_t i = 0; i < kWays; ++i) {
    if (set[i].entry.until != 0 && set[i].name != name) continue;
    index = i;
    if (set[i].entry.until != 0) break;  // of that name; otherwise it may still come
  }
  set[index] = {name, entry};
  MoveToFront(set, index);
}

}  // namespace sluice::plugins
