#include "balancer/round_robin.h"

#include <cstdlib>
#include <limits>
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

using testing::ElementsAre;

// A set of endpoints with its rotation.
struct Rotation : EndpointSet {
  explicit Rotation(const std::vector<uint32_t>& weights) : EndpointSet(weights) {}

  std::optional<size_t> Pick() { return PickRoundRobin(endpoints, states); }

  std::string Picks(size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) {
      const auto picked = Pick();
      out += picked ? static_cast<char>('A' + *picked) : '-';
    }
    return out;
  }
};

TEST(RoundRobinTest, FollowsTheSmoothSequence) {
  EXPECT_EQ(Rotation({5, 1, 1}).Picks(14), "AABACAAAABACAA");
  EXPECT_EQ(Rotation({1, 1, 1}).Picks(6), "ABCABC");
  EXPECT_EQ(Rotation({4, 2, 1}).Picks(7), "ABACABA");
  EXPECT_EQ(Rotation({2, 1}).Picks(6), "ABAABA");
  EXPECT_EQ(Rotation({7}).Picks(3), "AAA");
}

TEST(RoundRobinTest, PicksNothingFromNothing) { EXPECT_EQ(Rotation({}).Pick(), std::nullopt); }

TEST(RoundRobinTest, PicksNothingWhenNoneIsEligible) {
  Rotation rotation({3, 1});
  for (auto& endpoint : rotation.endpoints) endpoint.eligible = false;
  EXPECT_EQ(rotation.Pick(), std::nullopt);
  for (auto& endpoint : rotation.endpoints) endpoint.eligible = true;
  EXPECT_EQ(rotation.Picks(4), "AABA") << "a failed pick must not advance the rotation";
}

TEST(RoundRobinTest, NeverPicksWeightZero) {
  EXPECT_EQ(Rotation({0, 2, 0, 1}).Picks(6), "BDBBDB");
  EXPECT_EQ(Rotation({0, 0}).Pick(), std::nullopt);
}

TEST(RoundRobinTest, SkipsIneligibleAndSharesItsPicks) {
  Rotation rotation({3, 2, 1});
  rotation.endpoints[0].eligible = false;
  EXPECT_THAT(CountPicks(rotation, 300), ElementsAre(0, 200, 100));
}

TEST(RoundRobinTest, ReturningEndpointIsNotFlooded) {
  Rotation rotation({1, 1, 1});
  rotation.Picks(1);
  rotation.endpoints[0].eligible = false;
  rotation.Picks(1000);
  rotation.endpoints[0].eligible = true;
  const std::vector<int64_t> counts = CountPicks(rotation, 30);
  EXPECT_LE(std::abs(counts[0] - 10), 1);
}

TEST(RoundRobinTest, EachGetsExactlyItsWeightInATurn) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<uint32_t> weights(1 + random() % 12);
    for (uint32_t& weight : weights) weight = random() % 50;
    weights[0] += 1;
    const int64_t total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
    Rotation rotation(weights);
    for (int turn = 0; turn < 3; ++turn) {
      EXPECT_EQ(CountPicks(rotation, total), std::vector<int64_t>(weights.begin(), weights.end()));
      for (const RoundRobinState& state : rotation.states) EXPECT_EQ(state.current, 0);
    }
  }
}

// The promise of "smooth": at no time is an endpoint two picks away from its share.
TEST(RoundRobinTest, StaysNearTheShareAtEveryStep) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    std::vector<uint32_t> weights(2 + random() % 20);
    for (uint32_t& weight : weights) weight = 1 + random() % 1000;
    const auto total = std::accumulate(weights.begin(), weights.end(), int64_t{0});
    Rotation rotation(weights);
    std::vector<int64_t> counts(weights.size());
    for (int64_t picks = 1; picks <= 2000; ++picks) {
      ++counts.at(rotation.Pick().value());
      for (size_t i = 0; i < weights.size(); ++i) {
        const int64_t lag = picks * weights[i] - counts[i] * total;
        ASSERT_LT(std::abs(lag), 2 * total) << "endpoint " << i << " after " << picks << " picks";
      }
    }
  }
}

TEST(RoundRobinTest, LargestWeightsDoNotOverflow) {
  constexpr uint32_t kHuge = std::numeric_limits<uint32_t>::max();
  Rotation rotation(std::vector<uint32_t>(1000, kHuge));
  EXPECT_EQ(CountPicks(rotation, 10'000), std::vector<int64_t>(1000, 10));

  Rotation mixed({uint32_t{1} << 31, 1});
  EXPECT_EQ(mixed.Picks(1000), std::string(1000, 'A'));
}

TEST(RoundRobinTest, LoweredWeightDoesNotStarve) {
  Rotation rotation({uint32_t{1} << 31, uint32_t{1} << 31});
  rotation.Picks(1);
  rotation.endpoints = {{1, true}, {1, true}};
  const std::vector<int64_t> counts = CountPicks(rotation, 20);
  EXPECT_LE(std::abs(counts[0] - counts[1]), 4);
}

TEST(RoundRobinTest, SettlesAfterAnyChangeInBetween) {
  std::mt19937 random(3);
  Rotation rotation(std::vector<uint32_t>(6, 1));
  for (int change = 0; change < 500; ++change) {
    for (EndpointView& endpoint : rotation.endpoints) {
      endpoint.weight = random() % 3 == 0 ? random() >> 1 : random() % 5;
      endpoint.eligible = random() % 4 != 0;
    }
    for (int i = 0; i < 5; ++i) {
      const auto picked = rotation.Pick();
      if (!picked) continue;
      EXPECT_TRUE(rotation.endpoints[*picked].eligible);
      EXPECT_GT(rotation.endpoints[*picked].weight, 0U);
    }
    for (EndpointView& endpoint : rotation.endpoints) endpoint = {1, true};
    const std::vector<int64_t> counts = CountPicks(rotation, 600);
    for (const int64_t count : counts) ASSERT_LE(std::abs(count - 100), 5);
  }
}

TEST(RoundRobinTest, StartPhaseSpreadsTheFirstPick) {
  std::set<size_t> first;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    Rotation rotation({1, 1, 1, 1});
    StartPhase(rotation.endpoints, rotation.states, seed);
    first.insert(rotation.Pick().value());
  }
  EXPECT_EQ(first.size(), 4U);
}

TEST(RoundRobinTest, StartPhaseKeepsProportions) {
  for (uint64_t seed = 0; seed < 64; ++seed) {
    Rotation rotation({5, 1, 1});
    StartPhase(rotation.endpoints, rotation.states, seed);
    const std::vector<int64_t> counts = CountPicks(rotation, 700);
    EXPECT_NEAR(static_cast<double>(counts[0]), 500, 2) << seed;
    EXPECT_NEAR(static_cast<double>(counts[1]), 100, 2) << seed;
  }
}

TEST(RoundRobinTest, StartPhaseIsRepeatable) {
  Rotation a({3, 2, 9});
  Rotation b({3, 2, 9});
  StartPhase(a.endpoints, a.states, 42);
  StartPhase(b.endpoints, b.states, 42);
  EXPECT_EQ(a.Picks(20), b.Picks(20));
}

TEST(RoundRobinTest, StartPhaseAcceptsNothingToPick) {
  Rotation rotation({0, 0});
  StartPhase(rotation.endpoints, rotation.states, 1);
  EXPECT_EQ(rotation.Pick(), std::nullopt);
}

}  // namespace
}  // namespace sluice::balancer
