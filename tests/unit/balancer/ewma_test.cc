#include "balancer/ewma.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using namespace std::chrono_literals;  // NOLINT

TimePoint At(nanoseconds since_start) { return TimePoint(1000s + since_start); }

TEST(EwmaTest, FirstAndSlowerAnswersCountAtOnce) {
  const Ewma ewma;
  EwmaState state;
  EXPECT_EQ(ewma.Cost(state, At(0s)), 0);
  ewma.Observe(state, 3ms, At(0s));
  EXPECT_EQ(ewma.Cost(state, At(0s)), 3000);
  ewma.Observe(state, 4ms, At(1s));
  EXPECT_EQ(ewma.Cost(state, At(1s)), 4000);
  ewma.Observe(state, 500ms, At(2s));
  EXPECT_EQ(ewma.Cost(state, At(2s)), 500'000);
}

TEST(EwmaTest, FasterAnswersCountGradually) {
  const Ewma ewma(10s);
  EwmaState state;
  ewma.Observe(state, 100ms, At(0s));
  ewma.Observe(state, 10ms, At(10s));
  EXPECT_NEAR(ewma.Cost(state, At(10s)), 100'000 * std::exp(-1) + 10'000 * (1 - std::exp(-1)), 50);
}

TEST(EwmaTest, DecaysWhenIdleAndStaysObserved) {
  const Ewma ewma(10s);
  EwmaState state;
  ewma.Observe(state, 100ms, At(0s));
  EXPECT_NEAR(ewma.Cost(state, At(10s)), 100'000 * std::exp(-1), 50);
  EXPECT_EQ(ewma.Cost(state, At(24h)), 1);
  EXPECT_EQ(ewma.Cost(state, At(24h * 40)), 1);
}

TEST(EwmaTest, ClocksOfOtherWorkersMayBeAhead) {
  const Ewma ewma;
  EwmaState state;
  ewma.Observe(state, 10ms, At(5s));
  EXPECT_EQ(ewma.Cost(state, At(4s)), 10'000);
  ewma.Observe(state, 1ms, At(4s));
  EXPECT_EQ(ewma.Cost(state, At(4s)), 10'000) << "no time has passed, nothing is forgotten";
}

TEST(EwmaTest, TakesAnyLatency) {
  const Ewma ewma;
  EwmaState state;
  ewma.Observe(state, -5ms, At(0s));
  EXPECT_EQ(ewma.Cost(state, At(0s)), 1);
  ewma.Observe(state, nanoseconds::max(), At(0s));
  EXPECT_TRUE(std::isfinite(ewma.Cost(state, At(0s))));
  EXPECT_TRUE(std::isfinite(ewma.Cost(state, At(0s)) * 4e9F * 4e9F));
}

struct EwmaSet {
  explicit EwmaSet(std::vector<uint32_t> weights) : draw(WeightedDraw::Build(weights)) {
    for (const uint32_t weight : weights) endpoints.push_back({weight, true});
  }

  auto StateOf() const {
    return [this](size_t i) -> const EwmaState& { return states[i]; };
  }

  size_t Lower(WeightedDraw::Pair pair, TimePoint now) {
    return ewma.Lower(pair, endpoints, now, StateOf(), [&](size_t i) { return in_flight[i]; });
  }

  Ewma ewma;
  WeightedDraw draw;
  std::vector<EndpointView> endpoints;
  std::array<EwmaState, 4> states;
  std::array<uint32_t, 4> in_flight = {};
};

TEST(EwmaTest, TakesTheLowerCostForLoadAndWeight) {
  EwmaSet set({1, 1, 3});
  set.ewma.Observe(set.states[0], 10ms, At(0s));
  set.ewma.Observe(set.states[1], 12ms, At(0s));
  set.ewma.Observe(set.states[2], 25ms, At(0s));
  EXPECT_EQ(set.Lower({0, 1}, At(0s)), 0U);
  EXPECT_EQ(set.Lower({1, 0}, At(0s)), 0U);
  EXPECT_EQ(set.Lower({1, 1}, At(0s)), 1U);
  EXPECT_EQ(set.Lower({0, 2}, At(0s)), 2U) << "25 ms of weight 3 are less than 10 ms of weight 1";
  set.in_flight[0] = 1;
  EXPECT_EQ(set.Lower({0, 1}, At(0s)), 1U);
}

TEST(EwmaTest, UnobservedCostsWhatTheOtherDoes) {
  EwmaSet set({1, 1, 1});
  set.ewma.Observe(set.states[0], 10ms, At(0s));
  set.in_flight = {1, 0, 1, 0};
  EXPECT_EQ(set.Lower({0, 1}, At(0s)), 1U);
  EXPECT_EQ(set.Lower({2, 1}, At(0s)), 1U) << "both unobserved: the load decides";
  set.in_flight = {0, 1, 0, 0};
  EXPECT_EQ(set.Lower({1, 0}, At(0s)), 0U);
}

TEST(EwmaTest, NewEndpointStartsAtTheMean) {
  EwmaSet set({1, 1, 1, 1});
  EXPECT_EQ(set.ewma.MeanCost(4, At(0s), set.StateOf()), 0);
  set.ewma.Seed(set.states[3], 0, At(0s));
  EXPECT_EQ(set.ewma.Cost(set.states[3], At(0s)), 0);
  set.ewma.Observe(set.states[0], 10ms, At(0s));
  set.ewma.Observe(set.states[1], 30ms, At(0s));
  const float mean = set.ewma.MeanCost(4, At(0s), set.StateOf());
  EXPECT_EQ(mean, 20'000);
  set.ewma.Seed(set.states[3], mean, At(0s));
  EXPECT_EQ(set.ewma.Cost(set.states[3], At(0s)), 20'000);
}

// A closed loop: the slow endpoint gets far fewer requests, but is tried again and again.
TEST(EwmaTest, SlowEndpointGetsLess) {
  EwmaSet set({1, 1, 1, 1});
  std::array<int, 4> counts = {};
  uint64_t random = 3;
  for (int i = 0; i < 20'000; ++i) {
    const TimePoint now = At(i * 10ms);
    const size_t picked = set.Lower(*set.draw.DrawTwo(set.endpoints, random), now);
    ++counts[picked];
    set.ewma.Observe(set.states[picked], picked == 2 ? 300ms : 10ms, now);
  }
  EXPECT_LT(counts[2], 200) << "of 5000";
  EXPECT_GT(counts[2], 2) << "200 s, time constant 10 s";
}

}  // namespace
}  // namespace sluice::balancer
