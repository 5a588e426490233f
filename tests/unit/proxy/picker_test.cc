#include "gateway/proxy/picker.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/proxy/eligibility.h"
#include "gateway/proxy/upstream_state.h"
#include "tests/unit/proxy/plan_of.h"

namespace sluice {
namespace {

using Type = UpstreamPlan::Type;
using Counter = EndpointTable::Counter;

constexpr Type kTypes[] = {Type::kRoundRobin, Type::kLeastConn, Type::kChash,
                           Type::kMaglev,     Type::kEwma,      Type::kRandom};

void Eject(Endpoint& endpoint, MonoTime now) {
  const balancer::Outlier outlier({.consecutive_errors = 1, .max_ejection_percentage = 100});
  balancer::OutlierState& state = endpoint.shared->outlier;
  balancer::OutlierState* const upstream[] = {&state};
  ASSERT_NE(outlier.Report(state, upstream, balancer::Outcome::kServerError, now),
            balancer::EjectionReason::kNone);
}

// Endpoints A, B, C, … with a picker over them.
struct Set {
  explicit Set(Type type_wanted, const std::vector<uint32_t>& weights,
               const std::vector<int32_t>& priorities = {}, PickRule rule_wanted = {})
      : type(type_wanted), rule(rule_wanted) {
    for (size_t i = 0; i < weights.size(); ++i) {
      const auto address = SocketAddress::Make("10.0.0.1:" + std::to_string(1000 + i));
      endpoints.push_back(std::make_shared<Endpoint>(nullptr, "upstream", *address));
      endpoints.back()->shared->weight = weights[i];
      endpoints.back()->shared->priority = i < priorities.size() ? priorities[i] : 0;
    }
    Update();
  }

  void Update() { picker.Update(rule, PlanOf(type, endpoints), endpoints, now); }
  // Time goes on: what was known of the endpoints is asked anew.
  void Pass(Duration time = milliseconds(1)) { now += time; }

  std::optional<size_t> Pick(std::string_view key = {}) {
    return picker.Pick({.tried = tried, .key = key, .now = now});
  }
  std::vector<int> Count(int picks, const std::string& prefix = "key") {
    std::vector<int> counts(endpoints.size());
    for (int i = 0; i < picks; ++i) ++counts.at(Pick(prefix + std::to_string(i)).value());
    return counts;
  }

  Type type;
  PickRule rule;
  MonoTime now{hours(1)};
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  std::vector<std::shared_ptr<Endpoint>> tried;
  Picker picker{42};
};

class PickerTest : public testing::TestWithParam<Type> {};

INSTANTIATE_TEST_SUITE_P(Types, PickerTest, testing::ValuesIn(kTypes),
                         [](const auto& test) { return std::string(conf::NameOf(test.param)); });

TEST_P(PickerTest, PicksNothingFromNothing) {
  EXPECT_EQ(Set(GetParam(), {}).Pick("key"), std::nullopt);
  EXPECT_EQ(Set(GetParam(), {0, 0}).Pick("key"), std::nullopt) << "weight 0, also in a panic";
}

TEST_P(PickerTest, GivesEachItsShare) {
  Set set(GetParam(), {1, 3, 0});
  // Nothing is in flight and nothing was timed, so that shares are those of the weights.
  const std::vector<int> counts = set.Count(8000);
  EXPECT_EQ(counts[2], 0);
  if (GetParam() == Type::kRoundRobin || GetParam() == Type::kLeastConn) {
    EXPECT_EQ(counts[0], 2000);
  } else if (GetParam() != Type::kEwma) {  // which prefers the heavier while both are idle
    EXPECT_NEAR(counts[0], 2000, 400);
  }
}

TEST_P(PickerTest, LeavesOutWhoMayNotBeTaken) {
  Set set(GetParam(), {1, 1, 1, 1});
  Eject(*set.endpoints[1], set.now);
  set.endpoints[2]->shared->order = NodeOrder::kDrain;
  std::vector<int> counts = set.Count(400);
  EXPECT_EQ(counts[1] + counts[2], 0);
  EXPECT_GT(counts[0], 100);
  EXPECT_GT(counts[3], 100);
  set.endpoints[2]->shared->order = NodeOrder::kNone;
  set.Pass(seconds(40));  // longer than the ejection
  counts = set.Count(400, "again");
  for (const int count : counts) EXPECT_GT(count, 50);
}

TEST_P(PickerTest, NeverPicksTheSameTwiceForOneRequest) {
  Set set(GetParam(), {1, 2, 3, 4});
  for (int round = 0; round < 50; ++round) {
    const std::string key = "key" + std::to_string(round);
    set.tried.clear();
    std::set<size_t> picked;
    for (size_t i = 0; i < 4; ++i) {
      const size_t index = set.Pick(key).value();
      EXPECT_TRUE(picked.insert(index).second);
      set.tried.push_back(set.endpoints[index]);
    }
    EXPECT_EQ(set.Pick(key), std::nullopt);
  }
  set.tried.clear();
  EXPECT_NE(set.Pick("key"), std::nullopt) << "hidden for that request only";
}

TEST_P(PickerTest, TakesTheHighestTierThatHasSomebody) {
  Set set(GetParam(), {1, 1, 1, 1, 1}, {10, 10, 0, 0, -5});
  const auto tier_counts = [&](const std::string& prefix) {
    const std::vector<int> counts = set.Count(300, prefix);
    return std::vector<int>{counts[0] + counts[1], counts[2] + counts[3], counts[4]};
  };
  EXPECT_EQ(tier_counts("a"), (std::vector<int>{300, 0, 0}));
  set.endpoints[0]->shared->order = NodeOrder::kDown;
  set.Pass();
  EXPECT_EQ(tier_counts("b"), (std::vector<int>{300, 0, 0})) << "one of two is left";
  Eject(*set.endpoints[1], set.now);
  EXPECT_EQ(tier_counts("c"), (std::vector<int>{0, 300, 0}));
  const std::vector<int> second = set.Count(300, "d");
  EXPECT_GT(second[2], 75) << "shared among the tier";
  EXPECT_GT(second[3], 75);
  set.endpoints[2]->shared->order = NodeOrder::kDown;
  set.endpoints[3]->shared->order = NodeOrder::kDown;
  set.Pass();
  EXPECT_EQ(tier_counts("e"), (std::vector<int>{0, 0, 300}));
  set.endpoints[0]->shared->order = NodeOrder::kNone;
  set.Pass();
  EXPECT_EQ(tier_counts("f"), (std::vector<int>{300, 0, 0})) << "back";
}

TEST_P(PickerTest, PanicsWhenAllAreEjected) {
  Set set(GetParam(), {1, 1, 1, 0}, {0, 0, 0, 0});
  for (const auto& endpoint : set.endpoints) Eject(*endpoint, set.now);
  set.endpoints[1]->shared->order = NodeOrder::kDrain;
  std::vector<int> counts = set.Count(400);
  EXPECT_GT(counts[0], 100);
  EXPECT_GT(counts[2], 100);
  EXPECT_EQ(counts[1], 0) << "what the operator keeps away stays away";
  EXPECT_EQ(counts[3], 0) << "so does weight 0";
  balancer::Outlier::Readmit(set.endpoints[2]->shared->outlier);
  set.Pass();
  counts = set.Count(100);
  EXPECT_EQ(counts[2], 100) << "no panic while one is healthy";
  set.endpoints[0]->shared->order = NodeOrder::kDown;
  set.endpoints[2]->shared->order = NodeOrder::kDown;
  set.Pass();
  EXPECT_EQ(set.Pick("key"), std::nullopt);
}

// Four of which two are healthy: half.
TEST_P(PickerTest, PanicsBelowTheWantedShare) {
  for (const auto& [threshold, panics] : {std::pair(50U, false), std::pair(51U, true)}) {
    Set set(GetParam(), {1, 1, 1, 1, 0}, {}, {.panic_threshold = threshold});
    set.Count(10);
    Eject(*set.endpoints[0], set.now);
    Eject(*set.endpoints[1], set.now);
    set.Pass();
    const std::vector<int> counts = set.Count(400);
    for (const size_t sick : {0, 1}) EXPECT_EQ(counts[sick] > 50, panics) << threshold;
    for (const size_t well : {2, 3}) EXPECT_EQ(counts[well] > 150, !panics) << threshold;
    EXPECT_EQ(counts[4], 0) << "weight 0 neither counts nor is used";
    // Who is kept away by the operator is not a part of the whole: then 2 of 3 are healthy.
    set.endpoints[0]->shared->order = NodeOrder::kDrain;
    set.Pass();
    EXPECT_EQ(set.Count(400)[1], 0);
    // An endpoint that is better, or another threshold, ends the panic.
    set.endpoints[0]->shared->order = NodeOrder::kNone;
    balancer::Outlier::Readmit(set.endpoints[0]->shared->outlier);
    set.Pass();
    EXPECT_EQ(set.Count(400)[1], 0);
  }
}

TEST_P(PickerTest, OpenBreakersAreNoReasonToPanic) {
  const balancer::Breaker breaker({.consecutive_failures = 1});
  Set set(GetParam(), {1, 1, 1}, {}, {.panic_threshold = 100});
  for (const size_t cut_off : {0, 1}) {
    Endpoint& endpoint = *set.endpoints[cut_off];
    endpoint.breaker = &breaker;
    balancer::Breaker::Force(endpoint.shared->breaker, balancer::BreakerPhase::kForcedOpen,
                             set.now);
  }
  set.Pass();
  EXPECT_EQ(set.Count(100)[2], 100);
  Eject(*set.endpoints[2], set.now);
  set.Pass();
  EXPECT_EQ(set.Count(100)[2], 100) << "a panic, in which the others are still cut off";
}

TEST_P(PickerTest, SeesAnEjectionAtOnce) {
  Set set(GetParam(), {1, 1});
  set.Count(10);
  Eject(*set.endpoints[0], set.now);  // no time passes
  EXPECT_EQ(set.Count(100)[0], 0);
}

TEST_P(PickerTest, AChangeOfTheListKeepsWhatItDoesNotTouch) {
  Set set(GetParam(), {2, 2, 2});
  std::map<std::string, std::string> before;
  for (int i = 0; i < 300; ++i) {
    const std::string key = std::to_string(i);
    before[key] = set.endpoints[*set.Pick(key)]->name;
  }
  const std::string gone = set.endpoints[1]->name;
  set.endpoints.erase(set.endpoints.begin() + 1);
  set.Update();
  int moved = 0;
  for (const auto& [key, name] : before) {
    const std::string& now = set.endpoints[*set.Pick(key)]->name;
    EXPECT_NE(now, gone);
    if (name != gone && now != name) ++moved;
  }
  if (GetParam() == Type::kChash) {
    EXPECT_EQ(moved, 0);
  } else if (GetParam() == Type::kMaglev) {
    EXPECT_LT(moved, 15);
  }
  set.endpoints[0]->shared->weight = 0;
  set.Update();
  EXPECT_EQ(set.Count(50)[0], 0);
}

TEST_P(PickerTest, AChangeOfTheTypeTakesEffect) {
  Set set(GetParam(), {1, 1, 1});
  for (const Type type : kTypes) {
    set.type = type;
    set.Update();
    for (const int count : set.Count(300)) EXPECT_GT(count, 20);
  }
}

TEST(PickerHashTest, OneKeyGoesToOneEndpointInEveryWorker) {
  for (const Type type : {Type::kChash, Type::kMaglev}) {
    Set set(type, {1, 2, 3});
    Picker other(7);
    other.Update(set.rule, PlanOf(type, set.endpoints), set.endpoints, set.now);
    for (int i = 0; i < 200; ++i) {
      const std::string key = std::to_string(i);
      const auto picked = set.Pick(key);
      EXPECT_EQ(set.Pick(key), picked);
      EXPECT_EQ(other.Pick({.tried = {}, .key = key, .now = set.now}), picked);
    }
  }
}

TEST(PickerHashTest, AnEmptyKeyTakesTurns) {
  for (const Type type : {Type::kChash, Type::kMaglev}) {
    for (const uint32_t bound : {0U, 125U}) {
      Set set(type, {1, 1, 1}, {}, {.balance_factor = bound});
      std::vector<int> counts(3);
      for (int i = 0; i < 30; ++i) ++counts[*set.Pick("")];
      EXPECT_EQ(counts, (std::vector<int>{10, 10, 10}));
    }
  }
}

TEST(PickerHashTest, ABoundSendsOnWhatIsTooMuch) {
  for (const Type type : {Type::kChash, Type::kMaglev}) {
    Set set(type, {1, 1, 1, 1}, {}, {.balance_factor = 125});
    // All requests have the same key and stay.
    std::vector<uint32_t> placed(4);
    for (int i = 0; i < 100; ++i) {
      const size_t picked = set.Pick("celebrity").value();
      set.endpoints[picked]->shared.Add(Counter::kActive);
      ++placed[picked];
    }
    for (const uint32_t count : placed) EXPECT_LE(count, 32U) << "1.25 times the fair share of 25";
    for (size_t i = 0; i < 4; ++i) {
      while (placed[i]-- > 0) set.endpoints[i]->shared.Remove(Counter::kActive);
    }
    const auto home = set.Pick("celebrity");
    EXPECT_EQ(set.Pick("celebrity"), home) << "with nothing in flight the key is at home";
  }
}

TEST(PickerHashTest, AnAddressThatIsThereTwiceHasTwoPlaces) {
  Set set(Type::kMaglev, {1, 1});
  const auto again = SocketAddress::Make("10.0.0.1:1000");
  set.endpoints.push_back(std::make_shared<Endpoint>(nullptr, "upstream", *again));
  set.endpoints.back()->shared->weight = 1;
  set.Update();
  for (const int count : set.Count(3000)) EXPECT_NEAR(count, 1000, 200);
}

TEST(PickerLoadTest, LeastConnTakesTheLeastLoadedForItsWeight) {
  Set set(Type::kLeastConn, {1, 2, 1});
  for (int i = 0; i < 2; ++i) set.endpoints[0]->shared.Add(Counter::kActive);
  for (int i = 0; i < 3; ++i) set.endpoints[1]->shared.Add(Counter::kActive);
  for (int i = 0; i < 4; ++i) set.endpoints[2]->shared.Add(Counter::kActive);
  EXPECT_EQ(set.Pick(), 1U);
  set.endpoints[1]->shared.Add(Counter::kActive);
  set.endpoints[0]->shared.Remove(Counter::kActive);
  EXPECT_EQ(set.Pick(), 0U);
}

TEST(PickerLoadTest, RandomTakesTheLessLoadedOfTwo) {
  Set set(Type::kRandom, {1, 1});
  set.endpoints[0]->shared.Add(Counter::kActive);
  // The busy one is taken when it is drawn twice only.
  EXPECT_LT(set.Count(1000)[0], 100);
}

TEST(PickerLoadTest, EwmaTakesTheFasterOfTwo) {
  Set set(Type::kEwma, {1, 1});
  UpstreamState::ObserveLatency(*set.endpoints[0], milliseconds(50), set.now);
  UpstreamState::ObserveLatency(*set.endpoints[1], milliseconds(5), set.now);
  EXPECT_LT(set.Count(1000)[0], 100);
  for (int i = 0; i < 20; ++i) set.endpoints[1]->shared.Add(Counter::kActive);
  set.Pass();
  EXPECT_LT(set.Count(1000)[1], 100) << "fast, but with too many in flight";
}

TEST(PickerLoadTest, EwmaTakesANewEndpointToBeAsFastAsTheOthers) {
  Set set(Type::kEwma, {1, 1});
  UpstreamState::ObserveLatency(*set.endpoints[0], milliseconds(10), set.now);
  UpstreamState::ObserveLatency(*set.endpoints[1], milliseconds(30), set.now);
  const auto address = SocketAddress::Make("10.0.0.2:80");
  set.endpoints.push_back(std::make_shared<Endpoint>(nullptr, "upstream", *address));
  set.endpoints.back()->shared->weight = 1;
  set.Update();
  const float cost = balancer::Ewma().Cost(set.endpoints[2]->shared->ewma, set.now);
  EXPECT_NEAR(cost, 20'000, 100);
}

}  // namespace
}  // namespace sluice
