#include "ratelimit/key_table.h"

#include <algorithm>
#include <memory>

namespace sluice::ratelimit {
namespace {

__extension__ using Wide = unsigned __int128;

#if defined(__x86_64__)
#define SLUICE_COMPARES_16_BYTES __attribute__((target("cx16")))
#else
#define SLUICE_COMPARES_16_BYTES
#endif

SLUICE_COMPARES_16_BYTES bool CompareAndSwap(void* at, Wide expected, Wide with) {
  return __sync_bool_compare_and_swap(static_cast<Wide*>(at), expected, with);
}

Wide Join(uint64_t low, uint64_t high) { return static_cast<Wide>(high) << 64 | low; }

uint32_t Seconds(TimePoint time) {
  return static_cast<uint32_t>(
      std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count());
}

// Modulo 2^32: a word is kept for years at most.
bool IsAfter(uint32_t time, uint32_t than) { return static_cast<int32_t>(time - than) > 0; }

// Inserting fails only while other processes succeed; this many in a row means that something
// else is wrong, and a request must not hang.
constexpr int kMostAttempts = 1000;
// The first bucket is filled up to here before the emptier one of both is taken, so that most
// look-ups read one.
constexpr size_t kFirst = 4;

}  // namespace

// A torn pair is found out by Replace; without one, by the tag that still stands.
KeyTable::Pair KeyTable::Entry::Load() const {
  const uint64_t first = tag.load(std::memory_order_acquire);
  const uint64_t value = word.load(std::memory_order_acquire);
  return {tag.load(std::memory_order_relaxed) == first ? first : 0, value};
}

bool KeyTable::Entry::Replace(const Pair& expected, const Pair& with) {
  return CompareAndSwap(this, Join(expected.tag, expected.word), Join(with.tag, with.word));
}

size_t KeyTable::SizeFor(uint64_t keys) {
  // Half of the places stay free.
  return sizeof(Counts) + sizeof(Bucket) * std::max<size_t>(2, (2 * keys + kWays - 1) / kWays);
}

KeyTable::KeyTable(std::span<std::byte> memory)
    : counts_(reinterpret_cast<Counts*>(memory.data())),
      buckets_(reinterpret_cast<Bucket*>(memory.data() + sizeof(Counts)),
               std::min<size_t>((memory.size() - sizeof(Counts)) / sizeof(Bucket), UINT32_MAX)) {}

KeyTable::Candidates KeyTable::CandidatesOf(const KeyHash& key, uint64_t kind) const {
  const uint64_t count = buckets_.size();
  const uint64_t first = (key.low & UINT32_MAX) * count >> 32;
  uint64_t second = (key.low >> 32) * count >> 32;
  if (second == first) second = first + 1 < count ? first + 1 : 0;
  __builtin_prefetch(&buckets_[first], 1);
  __builtin_prefetch(&buckets_[first].expires, 1);
  __builtin_prefetch(&buckets_[second], 1);
  const uint64_t hash = key.high & kHashBits;
  return {{&buckets_[first], &buckets_[second]}, (hash != 0 ? hash : ~kHashBits + 1) | kind};
}

KeyTable::Place KeyTable::FindPlace(const Candidates& candidates) {
  for (Bucket* bucket : candidates.buckets) {
    for (size_t way = 0; way < kWays; ++way) {
      if (bucket->entries[way].tag.load(std::memory_order_relaxed) == candidates.tag) {
        return {bucket, way};
      }
    }
  }
  return {};
}

std::optional<uint64_t> KeyTable::Find(const KeyHash& key, bool counts_under_way) const {
  const Candidates candidates = CandidatesOf(key, counts_under_way ? kCountsUnderWay : 0);
  while (const Place place = FindPlace(candidates)) {
    const Pair pair = place.entry().Load();
    if (pair.tag == candidates.tag) return pair.word;
  }
  return std::nullopt;
}

// A place, what stood there, and whether that is lost when it goes.
struct KeyTable::Victim {
  Place place;
  Pair before;
  bool in_use = false;
};

KeyTable::Victim KeyTable::ChooseVictim(const Candidates& candidates, TimePoint now) {
  const uint32_t seconds = Seconds(now);
  std::array<size_t, 2> in_use = {};
  std::array<Victim, 2> free;
  Victim oldest;
  uint32_t first_expiry = 0;
  for (size_t i = 0; i < 2; ++i) {
    for (size_t way = 0; way < kWays; ++way) {
      const Place place{candidates.buckets[i], way};
      const Pair pair = place.entry().Load();
      // Who wrote it may have died before it was settled, and its time is still that of another.
      const bool is_tentative = (pair.tag & kTentative) != 0;
      const uint32_t expires =
          is_tentative ? seconds + 1 : place.expires().load(std::memory_order_relaxed);
      const bool is_pinned =
          (pair.tag & kCountsUnderWay) != 0 && ConcurrencyLimit::UnderWay(pair.word) > 0;
      if (!is_pinned && (pair.tag == 0 || !IsAfter(expires, seconds))) {
        if (!free[i].place) free[i] = {place, pair, false};
        continue;
      }
      ++in_use[i];
      if (is_pinned || (oldest.place && !IsAfter(first_expiry, expires))) continue;
      oldest = {place, pair, !is_tentative};
      first_expiry = expires;
    }
  }
  const size_t best = in_use[0] < kFirst || in_use[0] <= in_use[1] ? 0 : 1;
  if (free[best].place) return free[best];
  return free[1 - best].place ? free[1 - best] : oldest;
}

// A key that two processes insert at one time must not stand in two places. So an entry is first
// tentative, which no look-up finds; it is settled by who has seen no other of its key after it was
// written, and has removed those that were tentative. Of two, at least one sees the other.
KeyTable::Place KeyTable::Insert(const Candidates& candidates, TimePoint now) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const Victim victim = ChooseVictim(candidates, now);
    if (!victim.place) break;
    const Pair tentative{candidates.tag | kTentative, 0};
    if (victim.place.entry().Replace(victim.before, tentative)) {
      if (victim.in_use) counts_->evicted.fetch_add(1, std::memory_order_relaxed);
      victim.place.expires().store(Seconds(now) + 1, std::memory_order_relaxed);
      if (Settle(candidates, victim.place)) return victim.place;
    }
    if (const Place place = FindPlace(candidates)) return place;
  }
  counts_->refused.fetch_add(1, std::memory_order_relaxed);
  return {};
}

bool KeyTable::Settle(const Candidates& candidates, const Place& own) {
  const Pair tentative{candidates.tag | kTentative, 0};
  for (Bucket* bucket : candidates.buckets) {
    for (Entry& other : bucket->entries) {
      if (&other == &own.entry()) continue;
      const uint64_t tag = other.tag.load(std::memory_order_seq_cst);
      const bool is_rival = tag == tentative.tag && !other.Replace(tentative, {});
      if (tag == candidates.tag || is_rival) {
        own.entry().Replace(tentative, {});
        return false;
      }
    }
  }
  return own.entry().Replace(tentative, {candidates.tag, 0});
}

void KeyTable::KeepUntil(std::atomic<uint32_t>& expires, TimePoint time) {
  const uint32_t wanted = Seconds(time) + 1;
  uint32_t before = expires.load(std::memory_order_relaxed);
  while (IsAfter(wanted, before) &&
         !expires.compare_exchange_weak(before, wanted, std::memory_order_relaxed)) {
  }
}

uint64_t KeyTable::CountInUse(const Bucket& bucket, uint32_t seconds) {
  uint64_t count = 0;
  for (size_t way = 0; way < kWays; ++way) {
    const Pair pair = bucket.entries[way].Load();
    const bool under_way =
        (pair.tag & kCountsUnderWay) != 0 && ConcurrencyLimit::UnderWay(pair.word) > 0;
    const uint32_t expires = bucket.expires[way].load(std::memory_order_relaxed);
    if (under_way || (pair.tag != 0 && IsAfter(expires, seconds))) ++count;
  }
  return count;
}

std::optional<KeyTable::Use> KeyTable::ReadUse(size_t size, const ReadMemory& read, TimePoint now) {
  constexpr size_t kPiece = 2048;
  constexpr size_t kMostPieces = 256;
  const auto as_bytes = [](auto* items, size_t count) {
    return std::span(reinterpret_cast<std::byte*>(items), count * sizeof(*items));
  };
  Counts counts{};
  if (!read(as_bytes(&counts, 1), 0)) return std::nullopt;
  Use use{.evicted = counts.evicted.load(), .refused = counts.refused.load()};
  const size_t all = (size - sizeof(Counts)) / sizeof(Bucket);
  const auto buckets = std::make_unique<Bucket[]>(std::min(kPiece, all));
  // Keys stand anywhere, so that pieces which are spread evenly stand for the others.
  const size_t most = kPiece * kMostPieces;
  const size_t step = kPiece * ((all + most - 1) / most);
  size_t seen = 0;
  for (size_t next = 0; next < all; next += step) {
    const size_t count = std::min(kPiece, all - next);
    const size_t offset = sizeof(Counts) + next * sizeof(Bucket);
    if (!read(as_bytes(buckets.get(), count), offset)) return std::nullopt;
    for (size_t i = 0; i < count; ++i) use.keys += CountInUse(buckets[i], Seconds(now));
    seen += count;
  }
  if (seen < all) {
    use.keys = static_cast<uint64_t>(static_cast<double>(use.keys) * static_cast<double>(all) /
                                     static_cast<double>(seen));
  }
  return use;
}

}  // namespace sluice::ratelimit
