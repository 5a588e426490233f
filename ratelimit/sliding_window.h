// So many in any window, nearly: the count of the window before is taken to have been spread evenly
// over it and weighs by the share of it that the sliding window still covers.
//
//   previous · (window - elapsed) / window + current + cost  ≤  limit
//
//   word     | number of the window, modulo 2^20 | previous 22 | current 22 |
//
// Only what was allowed counts. A key that was last seen 2^20 windows ago (of a second: 12 days)
// is taken for a recent one.
#pragma once

#include <cstdint>

#include "ratelimit/limit.h"

namespace sluice::ratelimit {

class SlidingWindow {
 public:
  static constexpr uint64_t kMostCount = (uint64_t{1} << 22) - 1;
  static constexpr milliseconds kLongest = std::chrono::hours(24 * 365);

  // `limit` up to kMostCount, `window` from 1 ms to kLongest; brought into these ranges.
  SlidingWindow(uint64_t limit, milliseconds window);

  Step Next(uint64_t word, uint64_t cost, TimePoint now) const;

 private:
  struct Counts;

  nanoseconds RetryAfter(const Counts& counts, uint64_t cost) const;

  uint64_t limit_;
  uint64_t window_;  // milliseconds
};

}  // namespace sluice::ratelimit
