#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "ratelimit/fixed_window.h"
#include "ratelimit/sliding_window.h"
#include "tests/unit/ratelimit/limited_key.h"

namespace sluice::ratelimit {
namespace {

using namespace std::chrono_literals;  // NOLINT

TEST(FixedWindowTest, BeginsWithTheFirstRequest) {
  LimitedKey<FixedWindow> key(3, 10s);
  key.now += 7s;
  const Decision first = key.Ask();
  EXPECT_TRUE(first.allowed);
  EXPECT_EQ(first.remaining, 2U);
  EXPECT_EQ(first.reset, 10s);
  key.now += 9999ms;
  EXPECT_EQ(key.Allowed(5), 2);
  const Decision refused = key.Ask();
  EXPECT_EQ(refused.remaining, 0U);
  EXPECT_EQ(refused.reset, 1ms);
  EXPECT_EQ(refused.retry_after, 1ms);
  key.now += 1ms;
  EXPECT_EQ(key.Allowed(5), 3);
}

TEST(FixedWindowTest, CostIsTakenAtOnceOrNotAtAll) {
  LimitedKey<FixedWindow> key(10, 1s);
  EXPECT_EQ(key.Ask(8).remaining, 2U);
  EXPECT_FALSE(key.Ask(3).allowed);
  EXPECT_TRUE(key.Ask(2).allowed);
  EXPECT_EQ(key.Ask(11).retry_after, 0s);
  EXPECT_TRUE(key.Ask(0).allowed);
}

TEST(FixedWindowTest, CountsUpToItsMost) {
  LimitedKey<FixedWindow> key(UINT64_MAX, 1s);
  EXPECT_TRUE(key.Ask(FixedWindow::kMostCount).allowed);
  EXPECT_FALSE(key.Ask().allowed);
  EXPECT_FALSE(key.Ask(UINT64_MAX).allowed);
  key.now += 1s;
  EXPECT_TRUE(key.Ask().allowed);
}

TEST(FixedWindowTest, TheLongestWindowEnds) {
  LimitedKey<FixedWindow> key(1, FixedWindow::kLongest * 2);
  EXPECT_EQ(key.Ask().reset, FixedWindow::kLongest);
  key.now += FixedWindow::kLongest - 1ms;
  EXPECT_FALSE(key.Ask().allowed);
  key.now += 1ms;
  EXPECT_TRUE(key.Ask().allowed);
}

TEST(FixedWindowTest, ALowerLimitHoldsForWhatWasCounted) {
  LimitedKey<FixedWindow> key(100, 10s);
  key.Ask(60);
  const Decision decision = Decide(key.word, FixedWindow(50, 10s), 1, key.now);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.remaining, 0U);
}

TEST(FixedWindowTest, TimeThatGoesBackIsTakenForTheWindow) {
  LimitedKey<FixedWindow> key(5, 10s);
  EXPECT_EQ(key.Allowed(10), 5);
  key.now -= 900ms;  // another process's clock
  EXPECT_EQ(key.Allowed(10), 0);
  EXPECT_EQ(key.Ask().reset, 10s);
  key.now -= 1h;  // the clock itself
  EXPECT_EQ(key.Allowed(10), 5);
}

TEST(FixedWindowTest, WordsWrapAround) {
  LimitedKey<FixedWindow> key(5, 10s);
  key.now = TimePoint(milliseconds((int64_t{1} << 36) - 3000));
  EXPECT_EQ(key.Allowed(10), 5);
  key.now += 9s;
  EXPECT_EQ(key.Allowed(10), 0);
  key.now += 1s;
  EXPECT_EQ(key.Allowed(10), 5);
}

TEST(FixedWindowTest, AgreesWithACounter) {
  std::mt19937_64 random(3);
  LimitedKey<FixedWindow> key(20, 1s);
  std::optional<TimePoint> start;
  uint64_t count = 0;
  for (int i = 0; i < 100'000; ++i) {
    key.now += milliseconds(random() % 100);
    const uint64_t cost = 1 + random() % 4;
    if (start && key.now >= *start + 1s) start.reset();
    if (!start) count = 0;
    const bool expected = count + cost <= 20;
    if (expected) {
      if (!start) start = key.now;
      count += cost;
    }
    const Decision decision = key.Ask(cost);
    ASSERT_EQ(decision.allowed, expected) << i;
    ASSERT_EQ(decision.remaining, 20 - count);
    ASSERT_EQ(decision.reset, *start + 1s - key.now);
    ASSERT_EQ(decision.retry_after, expected ? 0s : decision.reset);
  }
}

TEST(SlidingWindowTest, TheWindowBeforeFades) {
  LimitedKey<SlidingWindow> key(100, 10s);
  key.now += 9s;
  EXPECT_EQ(key.Allowed(200), 100);
  EXPECT_EQ(key.Ask().reset, 11s);
  key.now += 1s;  // the next window begins: all of it still counts
  EXPECT_EQ(key.Allowed(10), 0);
  key.now += 2500ms;
  EXPECT_EQ(key.Ask(0).remaining, 25U);
  EXPECT_EQ(key.Allowed(200), 25);
  key.now += 7500ms;
  EXPECT_EQ(key.Allowed(200), 75);
  key.now += 20s;
  EXPECT_EQ(key.Allowed(200), 100);
}

TEST(SlidingWindowTest, RetryAfterIsTheFirstMomentThatIsAllowed) {
  std::mt19937_64 random(4);
  LimitedKey<SlidingWindow> key(50, 1s);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    key.now += milliseconds(random() % 30);
    const uint64_t cost = 1 + random() % 50;
    const Decision decision = key.Ask(cost);
    if (decision.allowed) continue;
    ++refused;
    ASSERT_GT(decision.retry_after, 0s);
    std::atomic<uint64_t> copy = key.word.load();
    ASSERT_FALSE(Decide(copy, key.limit, cost, key.now + decision.retry_after - 1ms).allowed);
    ASSERT_TRUE(Decide(copy, key.limit, cost, key.now + decision.retry_after).allowed);
  }
  EXPECT_GT(refused, 1000);
}

TEST(SlidingWindowTest, AfterResetAllOfTheLimitIsFree) {
  std::mt19937_64 random(5);
  LimitedKey<SlidingWindow> key(50, 1s);
  for (int i = 0; i < 5000; ++i) {
    key.now += milliseconds(random() % 50);
    const Decision decision = key.Ask();
    std::atomic<uint64_t> copy = key.word.load();
    ASSERT_EQ(Decide(copy, key.limit, 0, key.now + decision.reset).remaining, 50U);
    ASSERT_LT(Decide(copy, key.limit, 0, key.now).remaining, 50U);
  }
}

TEST(SlidingWindowTest, AgreesWithTwoCounters) {
  std::mt19937_64 random(6);
  constexpr int64_t kWindow = 700;
  LimitedKey<SlidingWindow> key(30, milliseconds(kWindow));
  std::map<int64_t, int64_t> counts;  // by number of the window
  for (int i = 0; i < 100'000; ++i) {
    key.now += milliseconds(random() % 60);
    const auto cost = static_cast<int64_t>(1 + random() % 3);
    const int64_t now = ToMilliseconds(key.now);
    const int64_t window = now / kWindow;
    const int64_t rest = kWindow - now % kWindow;
    int64_t used = counts[window - 1] * rest + counts[window] * kWindow;
    const bool expected = used + cost * kWindow <= 30 * kWindow;
    if (expected) {
      counts[window] += cost;
      used += cost * kWindow;
    }
    const Decision decision = key.Ask(static_cast<uint64_t>(cost));
    ASSERT_EQ(decision.allowed, expected) << i;
    ASSERT_EQ(decision.remaining, static_cast<uint64_t>((30 * kWindow - used) / kWindow));
  }
}

TEST(SlidingWindowTest, EvenTrafficNeverPassesMoreThanTheLimitInAnyWindow) {
  LimitedKey<SlidingWindow> key(100, 1s);
  std::deque<TimePoint> allowed;
  size_t most = 0;
  for (int i = 0; i < 20'000; ++i) {
    key.now += 3ms;
    if (!key.Ask().allowed) continue;
    allowed.push_back(key.now);
    while (allowed.front() <= key.now - 1s) allowed.pop_front();
    most = std::max(most, allowed.size());
  }
  EXPECT_LE(most, 101U);
  EXPECT_GE(most, 95U);
}

TEST(SlidingWindowTest, CountsUpToItsMost) {
  LimitedKey<SlidingWindow> key(UINT64_MAX, SlidingWindow::kLongest);
  EXPECT_TRUE(key.Ask(SlidingWindow::kMostCount).allowed);
  const Decision refused = key.Ask();
  EXPECT_FALSE(refused.allowed);
  key.now += refused.retry_after;
  EXPECT_TRUE(key.Ask().allowed);
}

TEST(SlidingWindowTest, AnotherProcessesClockMayBeBehind) {
  LimitedKey<SlidingWindow> key(100, 1s);
  EXPECT_EQ(key.Allowed(60), 60);
  key.now -= 5ms;  // in the window before
  EXPECT_EQ(key.Allowed(60), 40);
  key.now += 10ms;
  EXPECT_EQ(key.Allowed(60), 0);
}

TEST(SlidingWindowTest, NumbersOfWindowsWrapAround) {
  LimitedKey<SlidingWindow> key(10, 1s);
  key.now = TimePoint(std::chrono::seconds((1 << 20) - 1) + 500ms);
  EXPECT_EQ(key.Allowed(20), 10);
  key.now += 1s;
  EXPECT_EQ(key.Allowed(20), 5);
  key.now += 2s;
  EXPECT_EQ(key.Allowed(20), 10);
}

TEST(LimitTest, SecondsAreRoundedUp) {
  EXPECT_EQ(WholeSeconds(0s), 0U);
  EXPECT_EQ(WholeSeconds(1ns), 1U);
  EXPECT_EQ(WholeSeconds(1s), 1U);
  EXPECT_EQ(WholeSeconds(1001ms), 2U);
  EXPECT_EQ(WholeSeconds(-5s), 0U);
}

}  // namespace
}  // namespace sluice::ratelimit
