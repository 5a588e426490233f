// The words of limits, by key: a table of fixed size in memory that all processes of a host share.
// Zeroed memory is an empty table; nothing needs to be set up, locked or repaired, so a process may
// be killed at any instruction.
//
//   counts    | evicted | refused | 112 bytes unused |
//   bucket    | tag, word | tag, word | … 6 … | expires 4 bytes · 6 | 8 bytes unused |   128 bytes
//   tag       | 62 bits of the key's hash | counts what is under way | tentative |       0: free
//
// A key may stand in either of two buckets that its hash names: nothing is ever moved, a look-up
// reads 12 places at most, and two buckets balance so well that a table of SizeFor(n) holds n keys.
//
// Tag and word change together, by a compare-and-swap of 16 bytes: a decision either counts for its
// key or is made again, never for another key that has taken the place meanwhile.
//
// A new key takes a free place, else one whose word says nothing any more (its `keep` has passed):
// nothing is lost. When all 12 places are in use the key that would expire first goes, which
// forgets what it had spent; `evicted` counts that. What has requests under way is never evicted:
// if all 12 are such, there is no decision; `refused` counts that.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>

#include "ratelimit/concurrency_limit.h"
#include "ratelimit/limit.h"

namespace sluice::ratelimit {

// 128 bits under a secret, so that nobody outside can make two keys meet. Keys of different limits
// must differ too: the name of the limit belongs to what is hashed.
struct KeyHash {
  uint64_t low = 0;
  uint64_t high = 0;
};

class KeyTable {
 public:
  static constexpr size_t kAlignment = 128;

  // Bytes of memory for `keys` that are in use at one time: 43 a key.
  static size_t SizeFor(uint64_t keys);

  // `memory` is aligned to kAlignment, zero at the start, at least SizeFor(1); it stays the
  // caller's. All processes give the same size.
  explicit KeyTable(std::span<std::byte> memory);

  // Decides by the word of the key that hashes to `key`, and charges `cost`.
  // nullopt: there is no room (above).
  template <Limit L>
  std::optional<Decision> Decide(const KeyHash& key, const L& limit, uint64_t cost, TimePoint now);

  // Makes a request that a ConcurrencyLimit has let in leave; nothing if the key is not there.
  // `change` maps the word to the next one.
  template <typename Change>
  void Leave(const KeyHash& key, Change change);

  // The word of a key, if it stands in the table.
  std::optional<uint64_t> Find(const KeyHash& key, bool counts_under_way = false) const;

  // What stands in the table, for who looks at it from outside: read with `read`, which copies the
  // memory from an offset on, so that parts which were never written need not be mapped. Of a table
  // that is `size` bytes long, 64 MiB are read at most: not for each request.
  struct Use {
    uint64_t keys = 0;  // in use; of a larger table an estimate
    uint64_t evicted = 0;
    uint64_t refused = 0;
  };
  using ReadMemory = std::function<bool(std::span<std::byte> into, size_t offset)>;
  // nullopt: `read` has failed.
  static std::optional<Use> ReadUse(size_t size, const ReadMemory& read, TimePoint now);

  uint64_t evicted() const { return counts_->evicted.load(std::memory_order_relaxed); }
  uint64_t refused() const { return counts_->refused.load(std::memory_order_relaxed); }
  uint64_t places() const { return buckets_.size() * kWays; }

 private:
  static constexpr size_t kWays = 6;
  static constexpr uint64_t kTentative = 1;
  static constexpr uint64_t kCountsUnderWay = 2;
  static constexpr uint64_t kHashBits = ~(kTentative | kCountsUnderWay);

  struct Pair {
    uint64_t tag = 0;
    uint64_t word = 0;
  };
  struct alignas(16) Entry {
    Pair Load() const;
    bool Replace(const Pair& expected, const Pair& with);

    std::atomic<uint64_t> tag;
    std::atomic<uint64_t> word;
  };
  struct alignas(kAlignment) Bucket {
    std::array<Entry, kWays> entries;
    std::array<std::atomic<uint32_t>, kWays> expires;  // seconds, modulo 2^32
  };
  static_assert(sizeof(Bucket) == kAlignment);
  struct alignas(kAlignment) Counts {
    std::atomic<uint64_t> evicted;
    std::atomic<uint64_t> refused;
  };
  struct Place {
    Entry& entry() const { return bucket->entries[way]; }
    std::atomic<uint32_t>& expires() const { return bucket->expires[way]; }
    explicit operator bool() const { return bucket != nullptr; }

    Bucket* bucket = nullptr;
    size_t way = 0;
  };
  // Where a key may stand, and its tag there.
  struct Candidates {
    std::array<Bucket*, 2> buckets;
    uint64_t tag;
  };
  struct Victim;

  static uint64_t CountInUse(const Bucket& bucket, uint32_t seconds);

  template <typename L>
  static constexpr uint64_t kKind = std::is_same_v<L, ConcurrencyLimit> ? kCountsUnderWay : 0;

  Candidates CandidatesOf(const KeyHash& key, uint64_t kind) const;
  static Place FindPlace(const Candidates& candidates);
  // A place that holds the key, with a word of 0 if it is new there.
  Place Insert(const Candidates& candidates, TimePoint now);
  static Victim ChooseVictim(const Candidates& candidates, TimePoint now);
  // Makes the tentative entry at `own` the key's only one; false: another process's is.
  static bool Settle(const Candidates& candidates, const Place& own);
  static void KeepUntil(std::atomic<uint32_t>& expires, TimePoint time);

  Counts* counts_;
  std::span<Bucket> buckets_;
};

template <Limit L>
std::optional<Decision> KeyTable::Decide(const KeyHash& key, const L& limit, uint64_t cost,
                                         TimePoint now) {
  const Candidates candidates = CandidatesOf(key, kKind<L>);
  Place place = FindPlace(candidates);
  for (;;) {
    if (!place) place = Insert(candidates, now);
    if (!place) return std::nullopt;
    const Pair before = place.entry().Load();
    if (before.tag == candidates.tag) {
      const Step step = limit.Next(before.word, cost, now);
      // First, so that nobody takes the place for expired in between.
      if (step.word != before.word) KeepUntil(place.expires(), now + step.keep);
      if (step.word == before.word || place.entry().Replace(before, {before.tag, step.word})) {
        return step.decision;
      }
    } else {
      place = FindPlace(candidates);
    }
  }
}

template <typename Change>
void KeyTable::Leave(const KeyHash& key, Change change) {
  const Candidates candidates = CandidatesOf(key, kCountsUnderWay);
  while (const Place place = FindPlace(candidates)) {
    const Pair before = place.entry().Load();
    if (before.tag != candidates.tag) continue;
    if (place.entry().Replace(before, {before.tag, change(before.word)})) return;
  }
}

}  // namespace sluice::ratelimit
