// Tokens that were verified already, so that the same one is not verified for each request of a
// client. Of fixed size, in sets of eight with the least recently used of a set giving way; keyed
// by a hash that nobody outside can aim (KeyedHash), so that the token itself is not kept. One for
// each worker and plugin, on the loop thread, allocates only when made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gateway/base/keyed_hash.h"

namespace sluice::plugins {

class VerifiedTokens {
 public:
  // What is remembered of a token.
  struct Entry {
    Hash128 subject{};   // the caller's: whose token it is
    uint64_t proof = 0;  // the caller's: what it was verified by, if that may change
    int64_t from = 0;    // seconds since 1970; from <= now < until (ValidTime)
    int64_t until = 0;
  };

  explicit VerifiedTokens(size_t capacity);  // entries of 56 bytes; rounded up to a power of two

  // What the token is called here. `keys` stands for everything that the verdict hung on: the
  // identity of the key, or a hash of all keys and rules that could have been chosen, so that a
  // change of them makes all tokens unknown. Costs about as much as reading the token twice.
  static Hash128 NameOf(std::string_view token, const Hash128& keys) {
    return KeyedHash::OfProcess().Of(keys, token);
  }

  // The entry, if the token may be used at `now` (seconds since 1970).
  std::optional<Entry> Find(const Hash128& name, int64_t now);
  // After verification only. Replaces an entry of that name.
  void Insert(const Hash128& name, const Entry& entry);

  size_t capacity() const { return slots_.size(); }

 private:
  static constexpr size_t kWays = 8;
  struct Slot {
    Hash128 name;
    Entry entry;  // until == 0: free
  };

  Slot* SetOf(const Hash128& name) { return &slots_[(name.low & set_mask_) * kWays]; }
  static void MoveToFront(Slot* set, size_t index);

  std::vector<Slot> slots_;
  size_t set_mask_;
};

}  // namespace sluice::plugins
