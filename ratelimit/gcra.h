// Leaky and token bucket by the generic cell rate algorithm (ITU-T I.371): instead of a level and
// when it was true, the word holds the one moment at which the bucket will be as at the start
// again.
//
//   ──────────┬───────────────────────────┬─────────────────────┬────▶ time
//            now ◀──── ahead ────────────▶ word                 now + capacity
//
// `ahead` over the time of one request is how many are in the bucket (nginx's excess); each adds
// its time if the sum stays within the capacity, and time takes away by passing. Refused requests
// cost nothing.
//
// The word counts sixteenths of a nanosecond, modulo 2^64: rates up to ten million a second are
// exact to 0.3 %, usual ones to a millionth.
#pragma once

#include <cstdint>

#include "ratelimit/limit.h"

namespace sluice::ratelimit {

class Gcra {
 public:
  // A bucket that needs longer to become free again is cut to this.
  static constexpr nanoseconds kLongest = std::chrono::hours(24 * 730);

  // `capacity` of units at once, and `rate` a second later on. Both are brought into their range:
  // the rate into once in kLongest to once in a nanosecond, the capacity into one unit to kLongest.
  Gcra(double rate, double capacity);

  Step Next(uint64_t word, uint64_t cost, TimePoint now) const;

 private:
  int64_t interval_;  // of one unit; this and all below in sixteenths
  int64_t capacity_;
};

// nginx's limit_req and APISIX's limit-req: requests leave at `rate` a second; up to `burst` that
// come earlier are allowed, and held back until it is their turn unless `nodelay`.
class LeakyBucket {
 public:
  LeakyBucket(double rate, double burst, bool nodelay)
      : gcra_(rate, burst + 1), nodelay_(nodelay) {}

  Step Next(uint64_t word, uint64_t cost, TimePoint now) const;

 private:
  Gcra gcra_;
  bool nodelay_;
};

// Full at the start; a request takes `cost` tokens, at once or not at all.
class TokenBucket {
 public:
  TokenBucket(uint64_t capacity, double refill_a_second)
      : gcra_(refill_a_second, static_cast<double>(capacity)) {}

  Step Next(uint64_t word, uint64_t cost, TimePoint now) const {
    return gcra_.Next(word, cost, now);
  }

 private:
  Gcra gcra_;
};

}  // namespace sluice::ratelimit
