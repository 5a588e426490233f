#include "balancer/retry.h"

#include <limits>

#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

TEST(RetryBudgetTest, IsAShareOfTheActive) {
  const RetryBudget budget;
  EXPECT_TRUE(budget.Allows(100, 19));
  EXPECT_FALSE(budget.Allows(100, 20));
  EXPECT_TRUE(budget.Allows(1000, 199));
  EXPECT_FALSE(budget.Allows(1000, 200));
}

TEST(RetryBudgetTest, FewAreAlwaysAllowed) {
  const RetryBudget budget;
  EXPECT_TRUE(budget.Allows(1, 2));
  EXPECT_FALSE(budget.Allows(1, 3));
  EXPECT_TRUE(budget.Allows(0, 0));
  const RetryBudget none{.percentage = 0, .floor = 0};
  EXPECT_FALSE(none.Allows(1000, 0));
}

// When everything fails and every failure is retried as often as the budget lets it, the upstream
// sees a quarter more, not a multiple.
TEST(RetryBudgetTest, BoundsAStorm) {
  const RetryBudget budget;
  uint64_t retries = 0;
  while (budget.Allows(1000 + retries, retries)) ++retries;
  EXPECT_EQ(retries, 249U);
}

TEST(BackOffTest, DoublesToTheCap) {
  const BackOff back_off;
  const auto longest = [&](uint32_t retry) { return back_off.Delay(retry, kMost); };
  EXPECT_EQ(longest(1), 25ms - 1ns);
  EXPECT_EQ(longest(2), 75ms - 1ns);
  EXPECT_EQ(longest(3), 175ms - 1ns);
  EXPECT_EQ(longest(4), 250ms - 1ns);
  EXPECT_EQ(longest(1'000'000), 250ms - 1ns);
  EXPECT_EQ(back_off.Delay(4, 0), 0ns);
  EXPECT_EQ(back_off.Delay(0, kMost), 0ns);
}

TEST(BackOffTest, IsEvenOverTheWholeTime) {
  const BackOff back_off;
  uint64_t random = 1;
  double sum = 0;
  int below_a_tenth = 0;
  for (int i = 0; i < 10'000; ++i) {
    const nanoseconds delay = back_off.Delay(2, NextRandom(random));
    sum += static_cast<double>(delay.count());
    below_a_tenth += delay < 7500us ? 1 : 0;
  }
  EXPECT_NEAR(sum / 10'000, 37.5e6, 1e6);
  EXPECT_NEAR(below_a_tenth, 1000, 100);
}

TEST(BackOffTest, TakesAnyTimes) {
  EXPECT_EQ((BackOff{0ns, 1s}.Delay(3, kMost)), 0ns);
  EXPECT_EQ((BackOff{1s, -1ns}.Delay(3, kMost)), 0ns);
  EXPECT_EQ((BackOff{nanoseconds::max(), nanoseconds::max()}.Delay(60, kMost)),
            nanoseconds::max() - 1ns);
}

}  // namespace
}  // namespace sluice::balancer
