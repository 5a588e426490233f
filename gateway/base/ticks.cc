#include "gateway/base/ticks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sluice {
namespace {

constexpr Duration kMeasured = milliseconds(5);

bool HasEvenCounter() {
#if defined(__x86_64__)
  // Advanced power management, EDX bit 8 (AMD and Intel alike).
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d >> 8 & 1) != 0;
#else
  return false;
#endif
}

// Both clocks at one moment. Read several times: an interruption between the two readings would
// make a wrong pair, so the closest counts.
struct Moment {
  uint64_t ticks = 0;
  MonoTime time;

  static Moment Now() {
    Moment best;
    uint64_t closest = UINT64_MAX;
    for (int i = 0; i < 5; ++i) {
      const uint64_t before = ReadTicks();
      const MonoTime time = MonoNow();
      const uint64_t width = ReadTicks() - before;
      if (width >= closest) continue;
      closest = width;
      best = {before + width / 2, time};
    }
    return best;
  }
};

}  // namespace

const bool ticks::kCounterIsEven = HasEvenCounter();

uint64_t ticks::ReadClock() {
  return static_cast<uint64_t>(MonoNow().time_since_epoch() / nanoseconds(1));
}

TickScale TickScale::Measure() {
  if (!ticks::kCounterIsEven) return TickScale(1);
  const Moment begin = Moment::Now();
  Moment end = begin;
  while (end.time - begin.time < kMeasured || end.ticks <= begin.ticks) end = Moment::Now();
  return TickScale(static_cast<double>((end.time - begin.time) / nanoseconds(1)) /
                   static_cast<double>(end.ticks - begin.ticks));
}

}  // namespace sluice
