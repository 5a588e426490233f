#include "gateway/proxy/upstream_plan.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/proxy/resolved_nodes.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Type = UpstreamPlan::Type;

conf::NodeConfig NodeOf(std::string host, int32_t priority = 0, uint32_t weight = 1) {
  conf::NodeConfig node;
  node.host = std::move(host);
  node.port = 8080;
  node.weight = weight;
  node.priority = priority;
  return node;
}

conf::UpstreamConfig UpstreamOf(std::string key, std::vector<conf::NodeConfig> nodes,
                                Type type = Type::kChash) {
  conf::UpstreamConfig upstream;
  upstream.key = std::move(key);
  upstream.balancer = type;
  upstream.nodes = std::move(nodes);
  return upstream;
}

std::vector<std::string> Names(const UpstreamPlan& plan) {
  std::vector<std::string> names;
  for (const PlannedEndpoint& endpoint : plan.endpoints()) names.push_back(endpoint.name);
  return names;
}

// The plan of one upstream alone.
std::shared_ptr<const UpstreamPlan> PlanOfNodes(std::vector<conf::NodeConfig> nodes, Type type) {
  conf::Config config;
  config.upstreams.push_back(UpstreamOf("u", std::move(nodes), type));
  return UpstreamPlans::Make(config, nullptr)->of(0);
}

TEST(UpstreamPlanTest, TiersComeByPriorityAndKeepTheOrderOfTheNodes) {
  const auto plan = PlanOfNodes({NodeOf("10.0.0.1", -1), NodeOf("10.0.0.2", 5),
                                 NodeOf("10.0.0.3", 5, 3), NodeOf("10.0.0.4", -1)},
                                Type::kRoundRobin);
  EXPECT_THAT(Names(*plan),
              ElementsAre("10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.1:8080", "10.0.0.4:8080"));
  ASSERT_EQ(plan->tiers().size(), 2U);
  EXPECT_EQ(plan->tiers()[0].priority, 5);
  EXPECT_EQ(plan->tiers()[0].range, (balancer::Tier{0, 2}));
  EXPECT_EQ(plan->tiers()[0].rotation.length(), 4U);
  EXPECT_EQ(plan->tiers()[1].range, (balancer::Tier{2, 4}));
  EXPECT_EQ(plan->endpoints()[0].node_host, "10.0.0.2:8080");
}

TEST(UpstreamPlanTest, EachTypeHasItsTable) {
  using std::holds_alternative;
  const auto table_of = [](Type type) -> UpstreamPlan::Table {
    return PlanOfNodes({NodeOf("10.0.0.1")}, type)->tiers()[0].table;
  };
  EXPECT_TRUE(holds_alternative<std::monostate>(table_of(Type::kRoundRobin)));
  EXPECT_TRUE(holds_alternative<std::monostate>(table_of(Type::kLeastConn)));
  EXPECT_TRUE(holds_alternative<balancer::KetamaRing>(table_of(Type::kChash)));
  EXPECT_TRUE(holds_alternative<balancer::MaglevTable>(table_of(Type::kMaglev)));
  EXPECT_TRUE(holds_alternative<balancer::WeightedDraw>(table_of(Type::kRandom)));
  EXPECT_TRUE(holds_alternative<balancer::WeightedDraw>(table_of(Type::kEwma)));
}

TEST(UpstreamPlanTest, NothingIsAPlanToo) {
  const auto plan = PlanOfNodes({}, Type::kMaglev);
  EXPECT_THAT(plan->endpoints(), IsEmpty());
  EXPECT_THAT(plan->tiers(), IsEmpty());
}

TEST(UpstreamPlanTest, SaysWhyKeysCannotBeHashed) {
  std::vector<conf::NodeConfig> nodes(65'535, NodeOf("10.0.0.1"));
  const auto plan = PlanOfNodes(std::move(nodes), Type::kMaglev);
  EXPECT_THAT(plan->error(), HasSubstr("expected at most 65534 nodes"));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(plan->tiers()[0].table));
}

TEST(UpstreamPlansTest, WhatHasNotChangedIsShared) {
  conf::Config config;
  config.upstreams = {UpstreamOf("a", {NodeOf("10.0.0.1"), NodeOf("10.0.0.2")}),
                      UpstreamOf("b", {NodeOf("10.0.0.3")}), UpstreamOf("c", {NodeOf("10.0.0.4")}),
                      UpstreamOf("d", {NodeOf("10.0.0.5")})};
  const auto before = UpstreamPlans::Make(config, nullptr);
  std::swap(config.upstreams[0], config.upstreams[1]);
  config.upstreams[0].nodes[0].weight = 2;              // b
  config.upstreams[2].balancer = Type::kMaglev;         // c
  config.upstreams[3].key = "e";                        // d
  config.upstreams[1].nodes[0].position = {.line = 7};  // only moved in the file
  const auto after = UpstreamPlans::Make(config, before.get());
  EXPECT_EQ(after->of(1), before->of(0));
  EXPECT_NE(after->of(0), before->of(1));
  EXPECT_EQ(after->of(0)->endpoints()[0].weight, 2U);
  EXPECT_NE(after->of(2), before->of(2));
  EXPECT_EQ(after->of(2)->type(), Type::kMaglev);
  EXPECT_NE(after->of(3), before->of(3)) << "another upstream, whatever its nodes";
}

TEST(UpstreamPlansTest, AnUpstreamWithANameHasNoneYet) {
  conf::Config config;
  config.upstreams = {UpstreamOf("a", {NodeOf("10.0.0.1"), NodeOf("a.example")}),
                      UpstreamOf("b", {NodeOf("10.0.0.1")})};
  const auto plans = UpstreamPlans::Make(config, nullptr);
  EXPECT_EQ(plans->of(0), nullptr);
  EXPECT_NE(plans->of(1), nullptr);
}

}  // namespace
}  // namespace sluice
