#include "gateway/proxy/plan_pace.h"

#include <random>

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr MonoTime At(Duration since_start) { return MonoTime(hours(1)) + since_start; }

TEST(PlanPaceTest, TheFirstPlanIsMadeAtOnce) {
  EXPECT_EQ(PlanPace().Wait(At({})), Duration::zero());
}

TEST(PlanPaceTest, APlanIsFollowedByAPauseOfFiftyTimesItsCost) {
  PlanPace pace;
  pace.OnAdopted(At({}), milliseconds(2));
  EXPECT_EQ(pace.Wait(At({})), milliseconds(100));
  EXPECT_EQ(pace.Wait(At(milliseconds(60))), milliseconds(40));
  EXPECT_EQ(pace.Wait(At(milliseconds(100))), Duration::zero());
  EXPECT_EQ(pace.Wait(At(hours(9))), Duration::zero());
}

TEST(PlanPaceTest, OnlyTheLastOneCounts) {
  PlanPace pace;
  pace.OnAdopted(At({}), seconds(1));
  pace.OnAdopted(At(seconds(50)), microseconds(10));
  EXPECT_EQ(pace.Wait(At(seconds(50))), microseconds(500));
}

// Names change in every turn of the loop; each plan costs something else.
TEST(PlanPaceTest, HoweverOftenNamesChangeTheLoopIsFree) {
  constexpr Duration kTime = seconds(100);
  constexpr Duration kMost = milliseconds(5);
  std::mt19937 random(7);
  PlanPace pace;
  Duration spent{};
  int plans = 0;
  for (Duration now{}; now < kTime; now += microseconds(1 + random() % 400)) {
    if (pace.Wait(At(now)) > Duration::zero()) continue;
    const Duration took = kMost * (random() % 1000) / 1000;
    pace.OnAdopted(At(now), took);
    spent += took;
    ++plans;
  }
  EXPECT_LE(spent, kTime / PlanPace::kShare + kMost);
  EXPECT_GE(spent, kTime / PlanPace::kShare / 2) << "and names are not waited for longer than that";
  EXPECT_GT(plans, 100);
}

}  // namespace
}  // namespace sluice
