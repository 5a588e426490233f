#include "balancer/random_two.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/balancer/endpoint_set.h"

namespace sluice::balancer {
namespace {

struct RandomTwo : EndpointSet {
  explicit RandomTwo(const std::vector<uint32_t>& weights)
      : EndpointSet(weights), draw(WeightedDraw::Build(weights)) {}

  std::optional<size_t> Pick() {
    return PickRandomTwo(draw, endpoints, random, [&](size_t i) { return in_flight[i]; });
  }

  WeightedDraw draw;
  uint64_t random = 7;
};

TEST(RandomTwoTest, PicksNothingFromNothing) {
  EXPECT_EQ(RandomTwo({}).Pick(), std::nullopt);
  EXPECT_EQ(RandomTwo({0, 0}).Pick(), std::nullopt);
  RandomTwo down({1, 2, 3});
  for (EndpointView& endpoint : down.endpoints) endpoint.eligible = false;
  EXPECT_EQ(down.Pick(), std::nullopt);
}

TEST(RandomTwoTest, OneAmongManyDownIsFound) {
  RandomTwo set(std::vector<uint32_t>(1000, 1));
  for (EndpointView& endpoint : set.endpoints) endpoint.eligible = false;
  set.endpoints[777].eligible = true;
  for (int i = 0; i < 200; ++i) ASSERT_EQ(set.Pick(), 777U);
}

TEST(RandomTwoTest, NeverPicksIneligibleOrDraining) {
  RandomTwo set({1, 5, 5, 2});
  set.endpoints[1].eligible = false;
  set.endpoints[2].weight = 0;
  const std::vector<int64_t> counts = CountPicks(set, 10'000);
  EXPECT_EQ(counts[1] + counts[2], 0);
  EXPECT_GT(std::min(counts[0], counts[3]), 1000);
}

TEST(RandomTwoTest, FollowsAListOfAnotherLength) {
  RandomTwo set({1, 1, 1});
  set.endpoints.resize(2);
  EXPECT_GT(std::min(CountPicks(set, 1000)[0], CountPicks(set, 1000)[1]), 300);
}

// Chi-square of the first draw against the weights; 99.9 % quantile for 9 degrees: 27.9.
TEST(RandomTwoTest, DrawsInProportionToTheWeights) {
  const std::vector<uint32_t> weights = {1, 2, 3, 4, 5, 10, 20, 25, 30, 100};
  RandomTwo set(weights);
  std::vector<int64_t> counts(weights.size());
  constexpr int kDraws = 200'000;
  for (int i = 0; i < kDraws; ++i) ++counts[set.draw.DrawTwo(set.endpoints, set.random)->first];
  double chi_square = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double expected = kDraws * weights[i] / 200.0;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 27.9);
}

TEST(RandomTwoTest, TakesTheLessLoadedForItsWeight) {
  RandomTwo set({1, 1});
  set.in_flight = {5, 4};
  EXPECT_LT(CountPicks(set, 1000)[0], 10) << "only when one was drawn 20 times";
  RandomTwo weighted({1, 3});
  weighted.in_flight = {2, 5};
  EXPECT_LT(CountPicks(weighted, 1000)[0], 20);
}

TEST(RandomTwoTest, TheTwoDiffer) {
  RandomTwo set(std::vector<uint32_t>(10, 1));
  for (int i = 0; i < 1000; ++i) {
    const auto pair = set.draw.DrawTwo(set.endpoints, set.random);
    ASSERT_NE(pair->first, pair->second);
  }
}

// The point of two choices: 1000 requests onto 1000 servers, mean of the fullest. One choice: 5.6.
TEST(RandomTwoTest, TheFullestServerHasThree) {
  double sum = 0;
  for (uint64_t round = 0; round < 50; ++round) {
    RandomTwo set(std::vector<uint32_t>(1000, 1));
    set.random = round;
    for (int i = 0; i < 1000; ++i) ++set.in_flight[*set.Pick()];
    sum += *std::max_element(set.in_flight.begin(), set.in_flight.end());
  }
  EXPECT_NEAR(sum / 50, 3.0, 0.25);
}

}  // namespace
}  // namespace sluice::balancer
