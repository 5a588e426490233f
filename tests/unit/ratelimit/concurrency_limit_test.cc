#include "ratelimit/concurrency_limit.h"

#include <gtest/gtest.h>

namespace sluice::ratelimit {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr TimePoint kNow(std::chrono::hours(50));

struct Key {
  explicit Key(const ConcurrencyConfig& config) : limit(config) {}

  Decision Enter() { return Decide(word, limit, 1, kNow); }
  void Leave(nanoseconds latency) { word = limit.Left(word, latency); }

  ConcurrencyLimit limit;
  std::atomic<uint64_t> word = 0;
};

TEST(ConcurrencyLimitTest, DelaysTheBurstAndRefusesTheRest) {
  Key key({.places = 2, .burst = 3, .unit_delay = 100ms});
  const nanoseconds delays[] = {0s, 0s, 100ms, 100ms, 200ms};
  uint64_t remaining = 5;
  for (const nanoseconds delay : delays) {
    const Decision decision = key.Enter();
    EXPECT_TRUE(decision.allowed);
    EXPECT_EQ(decision.delay, delay);
    EXPECT_EQ(decision.remaining, --remaining);
  }
  const Decision sixth = key.Enter();
  EXPECT_FALSE(sixth.allowed);
  EXPECT_EQ(sixth.retry_after, 100ms);
  key.Leave(100ms);
  EXPECT_TRUE(key.Enter().allowed);
}

TEST(ConcurrencyLimitTest, TheUnitFollowsWhatRequestsTake) {
  Key key({.places = 1, .burst = 1, .unit_delay = 100ms});
  key.Enter();
  key.Leave(300ms);
  key.Enter();
  EXPECT_EQ(key.Enter().delay, 200ms);
  key.Leave(0s);
  EXPECT_EQ(key.Enter().delay, 100ms);
}

TEST(ConcurrencyLimitTest, AFixedUnitStays) {
  Key key({.places = 1, .burst = 1, .unit_delay = 100ms, .fixed_unit = true});
  key.Enter();
  key.Leave(300ms);
  key.Enter();
  EXPECT_EQ(key.Enter().delay, 100ms);
}

TEST(ConcurrencyLimitTest, NeverFallsBelowNobody) {
  Key key({.places = 1});
  key.Leave(1ms);
  key.word = ConcurrencyLimit::Left(key.word);
  EXPECT_EQ(ConcurrencyLimit::UnderWay(key.word), 0U);
  EXPECT_TRUE(key.Enter().allowed);
  EXPECT_FALSE(key.Enter().allowed);
}

TEST(ConcurrencyLimitTest, ExtremeLatenciesStayInTheWord) {
  Key key({.places = 1, .burst = 100'000, .unit_delay = 100h});
  for (const nanoseconds latency : {nanoseconds::max(), nanoseconds::min(), nanoseconds(0)}) {
    for (int i = 0; i < 100; ++i) {
      key.Enter();
      key.Leave(latency);
      ASSERT_EQ(ConcurrencyLimit::UnderWay(key.word), 0U);
    }
  }
  for (int i = 0; i < 100'001; ++i) ASSERT_GE(key.Enter().delay, 0s);
  EXPECT_FALSE(key.Enter().allowed);
}

}  // namespace
}  // namespace sluice::ratelimit
