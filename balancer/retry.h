// When and whether to try again: full-jitter back-off, and a budget that keeps retries from
// multiplying the load of an upstream that fails.
#pragma once

#include <algorithm>
#include <cstdint>

#include "balancer/random.h"
#include "balancer/time.h"

namespace sluice::balancer {

// At most `percentage` of the upstream's active requests may be retries, but `floor` always.
struct RetryBudget {
  uint32_t percentage = 20;
  uint32_t floor = 3;

  // May one more retry begin? Both counts are of the whole host: `active` requests of the upstream
  // (this one too, retries counted as well), `retries` of them that are retries now. The caller
  // counts its retries in its own worker's column, so that those of a dead worker vanish with it.
  // Workers that ask at the same moment may each be one above.
  constexpr bool Allows(uint64_t active, uint64_t retries) const { return retries < Most(active); }
  // So many retries at one time.
  constexpr uint64_t Most(uint64_t active) const {
    return std::max<uint64_t>(floor, active * percentage / 100);
  }
};

// Random between nothing and the whole of a time that doubles with each retry (Envoy's): retries of
// many clients that failed together spread out.
struct BackOff {
  nanoseconds base = std::chrono::milliseconds(25);
  nanoseconds cap = std::chrono::milliseconds(250);

  // Before the `retry`-th retry (from 1): below min((2^retry - 1) * base, cap). `random` is any 64
  // random bits. 0 when base or cap is not positive.
  constexpr nanoseconds Delay(uint32_t retry, uint64_t random) const {
    if (base.count() <= 0 || cap.count() <= 0) return nanoseconds(0);
    const uint64_t most = static_cast<uint64_t>(cap.count());
    const uint64_t times = (uint64_t{1} << std::min(retry, 62U)) - 1;
    const uint64_t step = static_cast<uint64_t>(base.count());
    const uint64_t limit = times > most / step ? most : std::min(most, times * step);
    return nanoseconds(static_cast<int64_t>(ScaleTo(random, limit)));
  }
};

}  // namespace sluice::balancer
