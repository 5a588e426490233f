// So many in a window, which begins with a key's first request (as in APISIX's limit-count) and
// ends after its time; then all of the limit is free at once. Up to twice the limit can pass around
// the end of a window: SlidingWindow has no such edge.
//
//   word     | start: milliseconds modulo 2^36 | count 28 |
//
// A key that was last seen a whole number of 2^36 ms (2.2 years) ago is taken for a recent one.
#pragma once

#include <cstdint>

#include "ratelimit/limit.h"

namespace sluice::ratelimit {

class FixedWindow {
 public:
  static constexpr uint64_t kMostCount = (uint64_t{1} << 28) - 1;
  static constexpr milliseconds kLongest = std::chrono::hours(24 * 365);

  // `limit` up to kMostCount, `window` from 1 ms to kLongest; brought into these ranges.
  FixedWindow(uint64_t limit, milliseconds window);

  Step Next(uint64_t word, uint64_t cost, TimePoint now) const;

 private:
  uint64_t limit_;
  int64_t window_;
};

}  // namespace sluice::ratelimit
