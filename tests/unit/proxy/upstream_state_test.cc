// Upstreams whose nodes are names: plans are made off the loop, one at a time.
#include "gateway/proxy/upstream_state.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/net/resolver.h"
#include "tests/unit/net/dns_stub.h"
#include "tests/unit/net/run_until.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Waits on when it is woken and endpoints are still on their way, as a call does.
struct WaitingCall final : UpstreamState::Waiter {
  explicit WaitingCall(UpstreamState& state_in) : state(state_in) { state.AddWaiter(*this); }
  void OnEndpointsChanged() override {
    if (state.is_resolving()) return state.AddWaiter(*this);
    ++served;
  }
  UpstreamState& state;
  int served = 0;
};

class UpstreamStateTest : public testing::Test {
 protected:
  UpstreamStateTest() : loop_(std::move(Loop::Make().value())) {
    config_.key = "upstream/1";
    config_.balancer = UpstreamPlan::Type::kChash;
    resolver_ = std::move(Resolver::Make(*loop_, {.servers = stub_.address()}).value());
    state_ = std::make_unique<UpstreamState>(*loop_, resolver_.get(), nullptr, config_.key, 1);
  }

  void AddNode(std::string host, uint32_t weight = 1) {
    conf::NodeConfig& node = config_.nodes.emplace_back();
    node.host = std::move(host);
    node.port = 80;
    node.weight = weight;
  }
  // As a worker does it: plans of addresses come with the snapshot.
  void Update() {
    conf::Config config;
    config.upstreams.push_back(config_);
    plans_ = UpstreamPlans::Make(config, plans_.get());
    state_->Update(config_, plans_->of(0));
  }
  bool Settle() {
    return RunUntil(*loop_, [&] { return !state_->is_resolving(); });
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& endpoint : state_->endpoints()) names.push_back(endpoint->name);
    return names;
  }
  // Where keys go, as often as there are any.
  std::vector<std::string> Picked() {
    std::set<std::string> names;
    for (int i = 0; i < 200; ++i) {
      const std::string key = std::to_string(i);
      const auto endpoint = state_->Pick({.tried = {}, .key = key, .now = loop_->now()});
      if (endpoint != nullptr) names.insert(endpoint->name);
    }
    return {names.begin(), names.end()};
  }

  std::string Answer(const DnsQuery& query) {
    DnsAnswer answer(query);
    for (const std::string& address : addresses_[query.name]) answer.Address(address, 1);
    return answer.Bytes();
  }

  std::unique_ptr<Loop> loop_;
  std::map<std::string, std::vector<std::string>> addresses_;
  DnsStub stub_{*loop_, [this](const DnsQuery& query) { return Answer(query); }};
  std::unique_ptr<Resolver> resolver_;
  conf::UpstreamConfig config_;
  std::shared_ptr<const UpstreamPlans> plans_;
  std::unique_ptr<UpstreamState> state_;
};

TEST_F(UpstreamStateTest, AddressesHoldAtOnce) {
  AddNode("10.0.0.1");
  AddNode("10.0.0.2");
  Update();
  EXPECT_FALSE(state_->is_resolving());
  EXPECT_THAT(Picked(), ElementsAre("10.0.0.1:80", "10.0.0.2:80"));
  const auto first = state_->endpoints()[0];
  config_.nodes[1].weight = 0;
  Update();
  EXPECT_THAT(Picked(), ElementsAre("10.0.0.1:80"));
  EXPECT_EQ(state_->endpoints()[0], first) << "what stays is the same endpoint";
  state_->Retire();
  EXPECT_THAT(Picked(), IsEmpty());
  EXPECT_TRUE(first->retired);
}

TEST_F(UpstreamStateTest, WhoWaitsIsWokenByThePlan) {
  addresses_["a.example"] = {"10.0.0.1", "10.0.0.2"};
  AddNode("a.example");
  Update();
  WaitingCall call(*state_);
  EXPECT_TRUE(state_->is_resolving());
  EXPECT_THAT(Picked(), IsEmpty());
  ASSERT_TRUE(RunUntil(*loop_, [&] { return call.served > 0; }));
  EXPECT_THAT(Picked(), ElementsAre("10.0.0.1:80", "10.0.0.2:80"));
}

TEST_F(UpstreamStateTest, WhatIsRemovedGetsNothingBeforeTheNextPlan) {
  addresses_["a.example"] = {"10.0.0.1"};
  AddNode("a.example");
  AddNode("10.0.0.7");
  AddNode("10.0.0.8");
  Update();
  ASSERT_TRUE(RunUntil(*loop_, [&] { return Names().size() == 3; }));
  const auto removed = config_.nodes.back();
  config_.nodes.pop_back();
  Update();
  EXPECT_THAT(Picked(), ElementsAre("10.0.0.1:80", "10.0.0.7:80"));
  config_.nodes.push_back(removed);  // and back before that plan is there
  Update();
  ASSERT_TRUE(Settle());
  EXPECT_THAT(Picked(), ElementsAre("10.0.0.1:80", "10.0.0.7:80", "10.0.0.8:80"));
}

TEST_F(UpstreamStateTest, ANameThatChangesMovesItsEndpoints) {
  addresses_["a.example"] = {"10.0.0.1", "10.0.0.2"};
  AddNode("a.example");
  Update();
  ASSERT_TRUE(RunUntil(*loop_, [&] { return Names().size() == 2; }));
  const auto stays = state_->endpoints()[1];
  const auto goes = state_->endpoints()[0];
  addresses_["a.example"] = {"10.0.0.2", "10.0.0.3"};
  ASSERT_TRUE(RunUntil(*loop_, [&] { return Names().back() == "10.0.0.3:80"; }));
  EXPECT_EQ(state_->endpoints()[0], stays);
  EXPECT_TRUE(goes->retired);
  EXPECT_FALSE(stays->retired);
}

TEST_F(UpstreamStateTest, ManyNamesAreInTheEndAllThere) {
  for (int i = 0; i < 100; ++i) {
    const std::string name = "n" + std::to_string(i) + ".example";
    addresses_[name] = {"10.1." + std::to_string(i / 100) + "." + std::to_string(i % 100 + 1)};
    AddNode(name);
  }
  Update();
  ASSERT_TRUE(RunUntil(*loop_, [&] { return Names().size() == 100; }));
}

TEST_F(UpstreamStateTest, MayEndWhileAPlanIsMade) {
  AddNode("a.example");
  AddNode("10.0.0.1");
  Update();
  EXPECT_TRUE(state_->is_resolving());
  WaitingCall call(*state_);
  state_->Retire();
  EXPECT_EQ(call.served, 1) << "nothing comes any more";
  EXPECT_FALSE(state_->is_resolving());
  Update();
  state_.reset();  // the loop, when it ends, finishes what runs on its threads
}

}  // namespace
}  // namespace sluice
