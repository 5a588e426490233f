#include "balancer/split.h"

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using testing::HasSubstr;

constexpr int kUsers = 100'000;

Split Make(std::vector<uint32_t> weights, size_t default_arm, const std::string& name = "route/1") {
  return std::get<Split>(Split::Build(weights, default_arm, name));
}

std::string User(int i) { return "user-" + std::to_string(i); }

std::vector<size_t> Arms(const Split& split) {
  std::vector<size_t> arms;
  for (int i = 0; i < kUsers; ++i) arms.push_back(*split.Of(User(i)));
  return arms;
}

// Expects that from `before` to `after` only users of `from` moved, and only to `to`. How many did.
int ExpectMovesOnly(const Split& before, const Split& after, size_t from, size_t to) {
  const std::vector<size_t> was = Arms(before);
  const std::vector<size_t> is = Arms(after);
  int moved = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    if (was[i] == is[i]) continue;
    ++moved;
    EXPECT_TRUE(was[i] == from && is[i] == to) << "from " << was[i] << " to " << is[i];
    if (testing::Test::HasFailure()) break;
  }
  return moved;
}

TEST(SplitTest, RaisingACanaryMovesOnlyNewUsersToIt) {
  const int moved = ExpectMovesOnly(Make({5, 95}, 1), Make({10, 90}, 1), 1, 0);
  EXPECT_NEAR(moved, kUsers * 0.05, 300);
  ExpectMovesOnly(Make({95, 5}, 0), Make({90, 10}, 0), 0, 1);
  ExpectMovesOnly(Make({99, 1}, 1), Make({100, 0}, 1), 1, 0);
}

TEST(SplitTest, LoweringACanaryMovesItsLastUsersBack) {
  ExpectMovesOnly(Make({10, 90}, 1), Make({4, 96}, 1), 0, 1);
}

TEST(SplitTest, TwoArmsBesidesTheDefaultNeverMeet) {
  std::mt19937 random(8);
  for (int round = 0; round < 12; ++round) {
    const uint32_t a = random() % 80;
    const uint32_t b = random() % (100 - a);
    const uint32_t more = 1 + random() % (100 - a - b);
    ExpectMovesOnly(Make({a, b, 100 - a - b}, 2), Make({a + more, b, 100 - a - b - more}, 2), 2, 0);
    ExpectMovesOnly(Make({a, b, 100 - a - b}, 2), Make({a, b + more, 100 - a - b - more}, 2), 2, 1);
  }
}

TEST(SplitTest, FourArmsGrowFreelyWhileNeighboursHaveRoom) {
  const Split before = Make({20, 10, 15, 5, 50}, 4);
  ExpectMovesOnly(before, Make({45, 10, 15, 5, 25}, 4), 4, 0);
  ExpectMovesOnly(before, Make({20, 35, 15, 5, 25}, 4), 4, 1);
  ExpectMovesOnly(before, Make({20, 10, 40, 5, 25}, 4), 4, 2);
  ExpectMovesOnly(before, Make({20, 10, 15, 30, 25}, 4), 4, 3);
}

TEST(SplitTest, AddingAnArmTakesFromTheDefaultOnly) {
  // Before, the arm was there with weight 0, or was not listed at all.
  ExpectMovesOnly(Make({20, 10, 0, 70}, 3), Make({20, 10, 30, 40}, 3), 3, 2);
  const std::vector<size_t> was = Arms(Make({20, 10, 70}, 2));
  const std::vector<size_t> is = Arms(Make({20, 10, 30, 40}, 3));
  for (size_t i = 0; i < was.size(); ++i) {
    ASSERT_TRUE(was[i] == is[i] || (was[i] == 2 && is[i] >= 2));
  }
}

TEST(SplitTest, IsTheSameInEveryWorker) {
  EXPECT_EQ(Arms(Make({3, 2, 5}, 0)), Arms(Make({30, 20, 50}, 0)));
}

// Chi-square of the arms' shares; 99.9 % quantile for 4 degrees: 18.5.
TEST(SplitTest, SharesAreThoseOfTheWeights) {
  const std::vector<uint32_t> weights = {5, 10, 15, 20, 50};
  for (const char* name : {"route/1", "route/2", "route/shop", ""}) {
    std::vector<int> counts(5);
    for (const size_t arm : Arms(Make(weights, 4, name))) ++counts[arm];
    double chi_square = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      const double expected = kUsers * weights[i] / 100.0;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    EXPECT_LT(chi_square, 18.5) << name;
  }
}

TEST(SplitTest, SplitsAreIndependent) {
  const std::vector<size_t> a = Arms(Make({10, 90}, 1, "route/1"));
  const std::vector<size_t> b = Arms(Make({10, 90}, 1, "route/2"));
  int both = 0;
  for (size_t i = 0; i < a.size(); ++i) both += a[i] == 0 && b[i] == 0 ? 1 : 0;
  EXPECT_NEAR(both, kUsers * 0.01, 150) << "early in one is not early in the other";
}

TEST(SplitTest, AnyWeightsGetTheirShare) {
  std::mt19937 random(9);
  for (int round = 0; round < 500; ++round) {
    std::vector<uint32_t> weights(1 + random() % 20);
    for (uint32_t& weight : weights) weight = random() % 3 == 0 ? 0 : random() >> random() % 32;
    const size_t default_arm = random() % weights.size();
    const auto total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const Split split = Make(weights, default_arm);
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const double wanted = total > 0 ? weights[i] / total : (i == default_arm ? 1 : 0);
      ASSERT_NEAR(split.Share(i), wanted, 1e-8);
      sum += split.Share(i);
    }
    ASSERT_EQ(sum, 1);
    for (int i = 0; i < 20; ++i) ASSERT_LT(*split.Of(User(i)), weights.size());
  }
}

TEST(SplitTest, ArmsOfWeightZeroGetNothing) {
  const Split split = Make({0, 100}, 1);
  for (const size_t arm : Arms(split)) ASSERT_EQ(arm, 1U);
  const Split only = Make({100, 0}, 1);
  for (const size_t arm : Arms(only)) ASSERT_EQ(arm, 0U);
}

TEST(SplitTest, WithoutAKeyArmsTakeTurns) {
  const Split split = Make({5, 1, 1}, 2);
  std::vector<RoundRobinState> states(3);
  EXPECT_EQ(split.Of(""), std::nullopt);
  std::string turns;
  for (int i = 0; i < 7; ++i) turns += static_cast<char>('A' + split.Next(states));
  EXPECT_EQ(turns, "AABACAA");
  EXPECT_EQ(Make({0, 0}, 1).Next(states), 1U);
}

TEST(SplitTest, RefusesWhatCannotBeSplit) {
  const auto refusal = [](size_t arms, size_t default_arm) {
    return std::get<std::string>(Split::Build(std::vector<uint32_t>(arms, 1), default_arm, "x"));
  };
  EXPECT_EQ(refusal(0, 0), "expected 1 to 256 arms, found 0");
  EXPECT_THAT(refusal(257, 0), HasSubstr("found 257"));
  EXPECT_EQ(refusal(2, 2), "expected the default arm among 2, found number 2");
}

}  // namespace
}  // namespace sluice::balancer
