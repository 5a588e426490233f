#include "gateway/base/ticks.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(TickScaleTest, TurnsTicksIntoTime) {
  const TickScale scale(0.5);
  EXPECT_EQ(scale.Between(100, 300), nanoseconds(100));
  EXPECT_EQ(scale.Between(300, 100), Duration::zero());
  EXPECT_EQ(scale.Between(7, 7), Duration::zero());
}

TEST(TickScaleTest, AgreesWithTheKernelsClock) {
  const TickScale scale = TickScale::Measure();
  const MonoTime outer_begin = MonoNow();
  const uint64_t begin = ReadTicks();
  const MonoTime inner_begin = MonoNow();
  while (MonoNow() - inner_begin < milliseconds(20)) {
  }
  const MonoTime inner_end = MonoNow();
  const uint64_t end = ReadTicks();
  const MonoTime outer_end = MonoNow();
  // Whatever interrupts: the ticks lie between the two times, but for the scale's own error.
  EXPECT_GE(scale.Between(begin, end), (inner_end - inner_begin) * 99 / 100);
  EXPECT_LE(scale.Between(begin, end), (outer_end - outer_begin) * 101 / 100);
}

}  // namespace
}  // namespace sluice
