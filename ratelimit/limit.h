// What all limits have in common. A limit is constant configuration; what it knows of one key is
// ONE 64-bit word that the caller keeps, zero at the start, mostly in memory that processes share
// (key_table.h). A decision is a pure step from word to word, made by a compare-and-swap, so that
// it is exact however many processes decide at one time, and a process that dies in the middle has
// either decided or not.
//
// Time is the monotonic clock of the host, to any resolution. Processes may disagree by kClockSkew
// (loops read the clock once a turn); what stands further in the future than that is not believed,
// so that no key is locked out for good whatever the clock did.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>

namespace sluice::ratelimit {

using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

inline constexpr nanoseconds kClockSkew = std::chrono::seconds(1);

struct Decision {
  bool allowed = false;
  nanoseconds delay{0};        // hold an allowed request back for so long
  uint64_t remaining = 0;      // how much more would be allowed at this moment
  nanoseconds reset{0};        // until all of the limit is free again, if nothing else comes
  nanoseconds retry_after{0};  // when refused: the same may be allowed then; 0: it never will
};

struct Step {
  Decision decision;
  uint64_t word = 0;    // the next one; unchanged when refused, mostly
  nanoseconds keep{0};  // after so long the word says no more than 0 does
};

template <typename T>
concept Limit = requires(const T& limit, uint64_t word, uint64_t cost, TimePoint now) {
  { limit.Next(word, cost, now) } -> std::same_as<Step>;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);

// Decides about `cost` (of 0: only looks) and charges it when it is allowed.
template <Limit L>
Decision Decide(std::atomic<uint64_t>& word, const L& limit, uint64_t cost, TimePoint now) {
  uint64_t before = word.load(std::memory_order_relaxed);
  for (;;) {
    const Step step = limit.Next(before, cost, now);
    if (step.word == before ||
        word.compare_exchange_weak(before, step.word, std::memory_order_relaxed)) {
      return step.decision;
    }
  }
}

// As Retry-After and X-RateLimit-Reset have it: rounded up, so that who waits so long is not early.
inline uint64_t WholeSeconds(nanoseconds time) {
  const auto count = std::chrono::ceil<std::chrono::seconds>(time).count();
  return count > 0 ? static_cast<uint64_t>(count) : 0;
}

// Whole milliseconds of `time`, as words hold it.
inline int64_t ToMilliseconds(TimePoint time) {
  const auto count = std::chrono::floor<milliseconds>(time.time_since_epoch()).count();
  return count > 0 ? count : 0;
}

}  // namespace sluice::ratelimit
