#include "gateway/observe/plugin_cost.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr uint64_t kWork = 2'000;  // ticks

void Call(PluginCost& cost) {
  const HookCall call(cost);
  const uint64_t begin = ReadTicks();
  while (ReadTicks() - begin < kWork) {
  }
}

TEST(HookCallTest, TheFirstCallsAreAllMeasured) {
  PluginCost cost;
  for (uint64_t i = 1; i <= HookCall::kAllMeasured; ++i) {
    const uint64_t before = cost.running.value();
    Call(cost);
    EXPECT_EQ(cost.calls.value(), i);
    EXPECT_GE(cost.running.value() - before, kWork);
  }
}

TEST(HookCallTest, LaterSomeCountForAll) {
  PluginCost cost;
  uint64_t measured = 0;
  constexpr uint64_t kCalls = 4'000;
  for (uint64_t i = 0; i < kCalls; ++i) {
    const uint64_t before = cost.running.value();
    Call(cost);
    if (cost.running.value() == before) continue;
    ++measured;
    EXPECT_GE(cost.running.value() - before,
              kWork * (i < HookCall::kAllMeasured ? 1 : HookCall::kOneOf));
  }
  EXPECT_EQ(cost.calls.value(), kCalls);
  const uint64_t later = measured - HookCall::kAllMeasured;
  EXPECT_NEAR(static_cast<double>(later), (kCalls - HookCall::kAllMeasured) / 16.0, 10);
}

// A filter that runs once in each of several requests, or a client with a rhythm, gets its share.
TEST(HookCallTest, NoRhythmEscapes) {
  constexpr int kCalls = 8'000;
  for (uint64_t period = 1; period <= 64; ++period) {
    for (uint64_t offset = 0; offset < period; ++offset) {
      int samples = 0;
      for (uint64_t i = 0; i < kCalls; ++i) {
        samples += HookCall::IsSample(offset + i * period) ? 1 : 0;
      }
      EXPECT_NEAR(samples, kCalls / 16, kCalls / 160) << period << " " << offset;
    }
  }
}

}  // namespace
}  // namespace sluice
