#include "balancer/rotation.h"

#include <cstdlib>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/balancer/endpoint_set.h"

namespace sluice::balancer {
namespace {

struct Turns : EndpointSet {
  explicit Turns(const std::vector<uint32_t>& weights)
      : EndpointSet(weights), rotation(Rotation::Build(weights)) {}

  std::optional<size_t> Pick() { return rotation.Pick(endpoints, states, cursor); }

  Rotation rotation;
  uint64_t cursor = 0;
};

TEST(RotationTest, IsTheSmoothSequence) {
  Turns turns({50, 10, 10});
  EXPECT_EQ(turns.rotation.length(), 7U);
  std::string picks;
  for (int i = 0; i < 14; ++i) picks += static_cast<char>('A' + turns.Pick().value());
  EXPECT_EQ(picks, "AABACAAAABACAA");
}

TEST(RotationTest, EqualsTheScanForAnyWeights) {
  std::mt19937 random(4);
  for (int round = 0; round < 100; ++round) {
    std::vector<uint32_t> weights(1 + random() % 12);
    for (uint32_t& weight : weights) weight = random() % 20;
    Turns turns(weights);
    std::vector<RoundRobinState> states(weights.size());
    for (int i = 0; i < 300; ++i) {
      ASSERT_EQ(turns.Pick(), PickRoundRobin(turns.endpoints, states)) << "pick " << i;
    }
  }
}

TEST(RotationTest, SharesTheTurnsOfTheAbsent) {
  Turns turns({3, 2, 1, 4});
  turns.endpoints[3].eligible = false;
  EXPECT_THAT(CountPicks(turns, 6000), testing::ElementsAre(3000, 2000, 1000, 0));
  turns.endpoints[3].eligible = true;
  const std::vector<int64_t> counts = CountPicks(turns, 100);
  EXPECT_LE(std::abs(counts[3] - 40), 1) << "not flooded when it returns";
}

TEST(RotationTest, PicksNothingWhenNoneIsEligible) {
  Turns turns({2, 0, 1});
  for (EndpointView& endpoint : turns.endpoints) endpoint.eligible = false;
  EXPECT_EQ(turns.Pick(), std::nullopt);
  EXPECT_EQ(Turns({}).Pick(), std::nullopt);
  EXPECT_EQ(Turns({0, 0}).Pick(), std::nullopt);
}

TEST(RotationTest, LongTurnsAreScanned) {
  Turns turns({1'000'003, 1'000'000});
  EXPECT_EQ(turns.rotation.length(), 0U);
  const std::vector<int64_t> counts = CountPicks(turns, 1000);
  EXPECT_EQ(counts[0], 500);
  std::vector<uint32_t> many(2000, 3);
  many[0] = 4;
  EXPECT_EQ(Rotation::Build(many).length(), 0U) << "6001 places of 2000 endpoints take too long";
  EXPECT_EQ(Rotation::Build(std::vector<uint32_t>(10'000, 7)).length(), 10'000U);
  EXPECT_EQ(Rotation::Build(std::vector<uint32_t>(100'000, 7)).length(), 0U);
}

TEST(RotationTest, SurvivesTablesOfOtherSets) {
  Turns turns({1, 1, 1});
  turns.cursor = 1'000'000;
  EXPECT_EQ(turns.Pick(), 0U) << "a cursor of a longer turn";
  turns.endpoints.resize(2);
  turns.states.resize(2);
  EXPECT_THAT(CountPicks(turns, 10), testing::ElementsAre(5, 5))
      << "fewer endpoints than the table has";
}

TEST(RotationTest, WorkersStartApart) {
  const std::vector<uint32_t> weights(8, 1);
  const Rotation rotation = Rotation::Build(weights);
  std::set<uint64_t> starts;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    starts.insert(rotation.StartCursor(seed));
    EXPECT_LT(rotation.StartCursor(seed), 8U);
  }
  EXPECT_EQ(starts.size(), 8U);
  EXPECT_EQ(Rotation().StartCursor(1), 0U);
}

}  // namespace
}  // namespace sluice::balancer
