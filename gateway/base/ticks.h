// The cheapest clock there is, for what is measured several times in each request: the processor's
// own counter where it runs evenly, else the kernel's clock. Ticks have a meaning as differences
// within one machine only; a TickScale turns these into time.
#pragma once

#include <cstdint>

#include "gateway/base/time.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice {

namespace ticks {
// An invariant TSC: constant in rate, equal on all processors, running also while they sleep. False
// until the program's constructors have run.
extern const bool kCounterIsEven;
uint64_t ReadClock();  // nanoseconds of the kernel
}  // namespace ticks

// 7 ns by the counter of an x86-64, where the kernel's clock takes 25.
inline uint64_t ReadTicks() {
#if defined(__x86_64__)
  if (ticks::kCounterIsEven) return __rdtsc();
#endif
  return ticks::ReadClock();
}

class TickScale {
 public:
  constexpr explicit TickScale(double nanoseconds_per_tick) : rate_(nanoseconds_per_tick) {}
  // Compares the counter with the kernel's clock over a few milliseconds: once, by master, so that
  // all processes and all times agree.
  static TickScale Measure();

  double nanoseconds_per_tick() const { return rate_; }
  // Zero when `to` is before `from`.
  Duration Between(uint64_t from, uint64_t to) const {
    const auto ticks = static_cast<int64_t>(to - from);
    return Duration(ticks > 0 ? static_cast<int64_t>(static_cast<double>(ticks) * rate_) : 0);
  }

 private:
  double rate_;
};

}  // namespace sluice
