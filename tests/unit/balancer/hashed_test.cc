// Both tables that are looked up by hash: ketama and maglev, and bounded load on them.
#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "balancer/bounded_load.h"
#include "balancer/chash.h"
#include "balancer/maglev.h"

namespace sluice::balancer {
namespace {

using testing::HasSubstr;

constexpr int kKeys = 200'000;

// Nodes that own their names.
struct Nodes {
  explicit Nodes(std::vector<uint32_t> weights) {
    for (size_t i = 0; i < weights.size(); ++i) {
      names.push_back("10.0." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250) +
                      ":8080");
    }
    for (size_t i = 0; i < weights.size(); ++i) nodes.push_back({names[i], weights[i]});
    for (const uint32_t weight : weights) endpoints.push_back({weight, true});
  }
  Nodes(const Nodes&) = delete;

  std::vector<std::string> names;
  std::vector<HashedNode> nodes;
  std::vector<EndpointView> endpoints;
};

std::string Key(int i) { return "user-" + std::to_string(i); }

template <typename Table>
class HashedTest : public testing::Test {
 protected:
  static Table Build(std::span<const HashedNode> nodes) {
    return std::get<Table>(Table::Build(nodes));
  }
};
using Tables = testing::Types<KetamaRing, MaglevTable>;
TYPED_TEST_SUITE(HashedTest, Tables);

TYPED_TEST(HashedTest, NothingToPickFrom) {
  EXPECT_EQ(this->Build({}).Pick("key", {}), std::nullopt);
  const Nodes drained({0, 0});
  EXPECT_EQ(this->Build(drained.nodes).Pick("key", drained.endpoints), std::nullopt);
}

TYPED_TEST(HashedTest, EmptyKeyIsLeftToRoundRobin) {
  const Nodes set({1, 1});
  EXPECT_EQ(this->Build(set.nodes).Pick("", set.endpoints), std::nullopt);
}

TYPED_TEST(HashedTest, OneNodeTakesAll) {
  const Nodes set({7});
  const auto table = this->Build(set.nodes);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(table.Pick(Key(i), set.endpoints), 0U);
}

TYPED_TEST(HashedTest, SharesFollowTheWeights) {
  const Nodes set({1, 2, 0, 4, 1});
  const auto table = this->Build(set.nodes);
  std::vector<int> counts(5);
  for (int i = 0; i < kKeys; ++i) ++counts[*table.Pick(Key(i), set.endpoints)];
  for (size_t i = 0; i < counts.size(); ++i) {
    const double ideal = kKeys * set.nodes[i].weight / 8.0;
    EXPECT_NEAR(counts[i], ideal, ideal * 0.15) << i;
  }
  EXPECT_EQ(counts[2], 0);
}

TYPED_TEST(HashedTest, TheOrderOfNodesDoesNotMatter) {
  Nodes set({1, 2, 3, 1, 1, 5});
  const auto before = this->Build(set.nodes);
  std::vector<HashedNode> reversed(set.nodes.rbegin(), set.nodes.rend());
  const auto after = this->Build(reversed);
  for (int i = 0; i < 20'000; ++i) {
    const auto picked = after.Find(Key(i), [](size_t) { return true; });
    EXPECT_EQ(before.Pick(Key(i), set.endpoints), 5 - *picked);
  }
}

TYPED_TEST(HashedTest, OnlyTheKeysOfAnUnavailableNodeMove) {
  Nodes set(std::vector<uint32_t>(10, 1));
  const auto table = this->Build(set.nodes);
  std::vector<size_t> before;
  for (int i = 0; i < 20'000; ++i) before.push_back(*table.Pick(Key(i), set.endpoints));
  set.endpoints[3].eligible = false;
  std::vector<int> takers(10);
  for (int i = 0; i < 20'000; ++i) {
    const size_t now = *table.Pick(Key(i), set.endpoints);
    if (before[static_cast<size_t>(i)] == 3) {
      ++takers[now];
    } else {
      ASSERT_EQ(now, before[static_cast<size_t>(i)]);
    }
  }
  EXPECT_EQ(takers[3], 0);
  EXPECT_EQ(std::count(takers.begin(), takers.end(), 0), 1) << "all others share them";
}

TYPED_TEST(HashedTest, DrainingTakesEffectWithoutANewTable) {
  Nodes set({1, 1, 1});
  const auto table = this->Build(set.nodes);
  set.endpoints[1].weight = 0;
  for (int i = 0; i < 1000; ++i) EXPECT_NE(table.Pick(Key(i), set.endpoints), 1U);
}

TYPED_TEST(HashedTest, GivesUpAfterTheTries) {
  const Nodes set(std::vector<uint32_t>(50, 1));
  const auto table = this->Build(set.nodes);
  int asked = 0;
  const auto picked = table.Find("key", [&](size_t) {
    ++asked;
    return false;
  });
  EXPECT_EQ(picked, std::nullopt);
  EXPECT_EQ(asked, 1 + kHashTries);
  EXPECT_EQ(table.Pick("key", std::span(set.endpoints).first(0)), std::nullopt)
      << "fewer endpoints than the table has";
}

TYPED_TEST(HashedTest, BoundedLoadSpillsTheHotKey) {
  Nodes set(std::vector<uint32_t>(10, 1));
  const auto table = this->Build(set.nodes);
  std::vector<uint32_t> in_flight(10);
  const size_t home = *table.Pick("celebrity", set.endpoints);
  int spilled = 0;
  for (int i = 0; i < 1000; ++i) {
    const BoundedLoad bound(set.endpoints, in_flight, 1.25);
    const auto picked = table.Find("celebrity", bound);
    if (!picked) {
      ++spilled;  // to round robin
      ++in_flight[static_cast<size_t>(i) % 10];
      continue;
    }
    ++in_flight[*picked];
  }
  for (const uint32_t count : in_flight) EXPECT_LE(count, 126U);
  EXPECT_GE(in_flight[home], 120U) << "the key stays at home as far as the bound goes";
  EXPECT_LE(spilled, 100);
}

TYPED_TEST(HashedTest, BoundedLoadCountsWeightsAndWhoIsThere) {
  Nodes set({1, 3, 1});
  std::vector<uint32_t> in_flight = {2, 5, 0};
  // 8 with the one to place, of weight 5, times 1.25: 2 for each unit of weight.
  BoundedLoad bound(set.endpoints, in_flight, 1.25);
  EXPECT_FALSE(bound(0));
  EXPECT_TRUE(bound(1));
  EXPECT_TRUE(bound(2));
  set.endpoints[1].eligible = false;
  BoundedLoad without(set.endpoints, in_flight, 1.25);
  EXPECT_FALSE(without(0)) << "3 in flight of weight 2: 1.875";
  EXPECT_FALSE(without(1));
  EXPECT_TRUE(without(2));
}

// Any load, any weights, some missing: with a factor of 1 or more there is room somewhere.
TEST(BoundedLoadTest, SomebodyAlwaysHasRoom) {
  std::mt19937 random(6);
  for (int round = 0; round < 2000; ++round) {
    std::vector<EndpointView> endpoints(1 + random() % 20);
    std::vector<uint32_t> in_flight(endpoints.size());
    for (size_t i = 0; i < endpoints.size(); ++i) {
      endpoints[i] = {static_cast<uint32_t>(random() % 9), random() % 3 != 0};
      in_flight[i] = static_cast<uint32_t>(random() % 100);
    }
    if (std::none_of(endpoints.begin(), endpoints.end(), MayPick)) continue;
    const BoundedLoad bound(endpoints, in_flight, 1.0);
    bool room = false;
    for (size_t i = 0; i < endpoints.size(); ++i) room = room || bound(i);
    EXPECT_TRUE(room);
  }
}

// Which of five servers (weights 1, 2, 1, 3, 1) nginx 1.22.1 with `hash $arg_k consistent` sent the
// keys key-0 to key-119 to.
TEST(KetamaTest, PlacesKeysAsNginxDoes) {
  const std::string recorded =
      "32554442414441451344344252445432454322443443442121522432112423442414443442332444541421255412"
      "4545241324444452341241214123";
  const std::vector<HashedNode> nodes = {{"127.0.0.1:21801", 1},
                                         {"127.0.0.1:21802", 2},
                                         {"127.0.0.1:21803", 1},
                                         {"127.0.0.1:21804", 3},
                                         {"localhost:21805", 1}};
  const auto ring = std::get<KetamaRing>(KetamaRing::Build(nodes));
  EXPECT_EQ(ring.points(), 1280U);
  std::string placed;
  for (size_t i = 0; i < recorded.size(); ++i) {
    const auto node = ring.Find("key-" + std::to_string(i), [](size_t) { return true; });
    placed += static_cast<char>('1' + *node);
  }
  EXPECT_EQ(placed, recorded);
}

// Points as a script with another CRC-32 worked them out: names without a port, of UNIX sockets.
TEST(KetamaTest, ReadsNamesAsNginxDoes) {
  const std::vector<HashedNode> nodes = {
      {"backend", 1}, {"UNIX:/run/app.sock", 1}, {"[::1]:80", 1}, {"a.example:x1", 1}};
  const auto ring = std::get<KetamaRing>(KetamaRing::Build(nodes));
  std::string placed;
  for (int i = 0; i < 60; ++i) {
    const auto node = ring.Find("key-" + std::to_string(i), [](size_t) { return true; });
    placed += static_cast<char>('1' + *node);
  }
  EXPECT_EQ(placed, "244131233112333233121223343243334212414324412342413414433334");
}

TEST(KetamaTest, OfEqualPointsTheFirstNodeCounts) {
  const std::vector<HashedNode> nodes = {{"a:1", 1}, {"b:1", 1}, {"a:1", 1}};
  const auto ring = std::get<KetamaRing>(KetamaRing::Build(nodes));
  EXPECT_EQ(ring.points(), 320U);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NE(ring.Find(Key(i), [](size_t) { return true; }), 2U);
  }
}

TEST(KetamaTest, AKeyOnAPointBelongsToIt) {
  const Nodes set(std::vector<uint32_t>(50, 1));
  const auto ring = std::get<KetamaRing>(KetamaRing::Build(set.nodes));
  for (size_t i = 0; i < 50; ++i) {
    // What a node's first point is the CRC of.
    std::string key = set.names[i] + std::string(4, '\0');
    key[key.find(':')] = '\0';
    EXPECT_EQ(ring.Pick(key, set.endpoints), i);
  }
}

TEST(KetamaTest, CommonFactorsOfWeightsAddNoPoints) {
  const Nodes small({1, 2});
  const Nodes large({100, 200});
  const auto a = std::get<KetamaRing>(KetamaRing::Build(small.nodes));
  const auto b = std::get<KetamaRing>(KetamaRing::Build(large.nodes));
  EXPECT_EQ(a.points(), 480U);
  EXPECT_EQ(b.points(), 480U);
}

TEST(KetamaTest, PointsAreBounded) {
  const Nodes set({4'294'967'295, 1, 2'000'000'000});
  const auto ring = std::get<KetamaRing>(KetamaRing::Build(set.nodes, 10'000));
  EXPECT_LE(ring.points(), 10'001U);
  EXPECT_GE(ring.points(), 9'990U);
  std::vector<int> counts(3);
  for (int i = 0; i < kKeys; ++i) ++counts[*ring.Pick(Key(i), set.endpoints)];
  EXPECT_NEAR(counts[0], kKeys * 0.682, kKeys * 0.02);

  const auto refused = KetamaRing::Build(set.nodes, 2);
  EXPECT_EQ(std::get<std::string>(refused), "expected at most 2 nodes on a hash ring, found 3");
}

TEST(KetamaTest, OnlyTheKeysOfTheLeavingNodeMove) {
  const Nodes set(std::vector<uint32_t>(50, 1));
  const auto before = std::get<KetamaRing>(KetamaRing::Build(set.nodes));
  const auto after = std::get<KetamaRing>(KetamaRing::Build(std::span(set.nodes).first(49)));
  std::vector<int> counts(50);
  int moved = 0;
  for (int i = 0; i < kKeys; ++i) {
    const size_t old_node = *before.Pick(Key(i), set.endpoints);
    const size_t new_node = *after.Pick(Key(i), set.endpoints);
    ++counts[old_node];
    moved += old_node != new_node ? 1 : 0;
  }
  const int worst = *std::max_element(counts.begin(), counts.end());
  std::printf("ketama, 50 nodes: worst/mean %.3f, moved when one leaves %.2f %%\n",
              worst * 50.0 / kKeys, moved * 100.0 / kKeys);
  EXPECT_EQ(moved, counts[49]) << "the ideal: its own keys and no other";
  EXPECT_LE(worst * 50.0 / kKeys, 1.2);
}

TEST(MaglevTest, PlacesAreSharedExactly) {
  const Nodes set(std::vector<uint32_t>(50, 1));
  const auto before = std::get<MaglevTable>(MaglevTable::Build(set.nodes));
  const auto after = std::get<MaglevTable>(MaglevTable::Build(std::span(set.nodes).first(49)));
  std::vector<int> counts(50);
  int moved = 0;
  for (size_t i = 0; i < before.places().size(); ++i) {
    ++counts[before.places()[i]];
    moved += before.places()[i] != after.places()[i] ? 1 : 0;
  }
  const int worst = *std::max_element(counts.begin(), counts.end());
  const double mean = 65537 / 50.0;
  std::printf("maglev, 50 nodes: worst/mean %.4f, moved when one leaves %.2f %%\n", worst / mean,
              moved * 100.0 / 65537);
  EXPECT_LE(worst / mean, 1.01);
  EXPECT_LE(moved / 65537.0, 0.03) << "0.02 is ideal";
}

TEST(MaglevTest, FarApartWeightsAreBuiltInTime) {
  std::vector<uint32_t> weights(10'000, 1);
  weights[0] = 4'294'967'295;
  const Nodes set(weights);
  const auto table = std::get<MaglevTable>(MaglevTable::Build(set.nodes));
  std::vector<size_t> counts(weights.size());
  for (const uint16_t node : table.places()) ++counts[node];
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 1U) << "one place each";
  EXPECT_EQ(counts[0], 65'537U - 9'999U);
}

TEST(MaglevTest, RefusesWhatCannotBeATable) {
  const Nodes set({1, 1, 1});
  const auto refusal = [&](size_t size) {
    return std::get<std::string>(MaglevTable::Build(set.nodes, size));
  };
  EXPECT_EQ(refusal(65'536),
            "expected a prime of at most 5000011 as size of a maglev table, found 65536");
  EXPECT_THAT(refusal(0), HasSubstr("prime"));
  EXPECT_THAT(refusal(1), HasSubstr("prime"));
  EXPECT_THAT(refusal(5'000'077), HasSubstr("prime"));
  EXPECT_THAT(refusal(2), HasSubstr("at most as many nodes as places"));
  EXPECT_TRUE(std::holds_alternative<MaglevTable>(MaglevTable::Build(set.nodes, 3)));
  const std::vector<HashedNode> many(65'535, HashedNode{"x", 0});
  EXPECT_THAT(std::get<std::string>(MaglevTable::Build(many)), HasSubstr("found 65535"));
}

}  // namespace
}  // namespace sluice::balancer
