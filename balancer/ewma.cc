#include "balancer/ewma.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace sluice::balancer {
namespace {

// A cost never decays to nothing, because 0 means "never observed"; nor grows beyond comparing
// (cost * in flight * weight stays below the largest float, 3e38).
constexpr float kLeastCost = 1;
constexpr float kMostCost = 1e15F;

struct Sample {
  float cost;
  uint32_t at;
};

Sample Load(const EwmaState& state) {
  const uint64_t word = state.word.load(std::memory_order_relaxed);
  return {std::bit_cast<float>(static_cast<uint32_t>(word >> 32)), static_cast<uint32_t>(word)};
}

void Store(EwmaState& state, float cost, uint32_t at) {
  cost = std::clamp(cost, kLeastCost, kMostCost);
  state.word.store(uint64_t{std::bit_cast<uint32_t>(cost)} << 32 | at, std::memory_order_relaxed);
}

// Time since the sample. Another worker may have stored a time somewhat later than `now`; anything
// else that looks like the future is seven weeks of idleness.
uint32_t Age(Sample sample, uint32_t now) {
  constexpr uint32_t kAhead = 60'000;
  const uint32_t age = now - sample.at;
  return age > std::numeric_limits<uint32_t>::max() - kAhead ? 0 : age;
}

}  // namespace

void Ewma::Observe(EwmaState& state, nanoseconds latency, TimePoint now) const {
  const auto at = static_cast<uint32_t>(ToMilliseconds(now));
  const float cost = static_cast<float>(latency.count()) / 1000;
  const Sample old = Load(state);
  // The peak is compared with the cost as it was stored: decay is for the idle only.
  if (old.cost == 0 || cost >= old.cost) return Store(state, cost, at);
  const float keep = std::exp(static_cast<float>(Age(old, at)) * per_millisecond_);
  Store(state, old.cost * keep + cost * (1 - keep), at);
}

float Ewma::Cost(const EwmaState& state, TimePoint now) const {
  const Sample sample = Load(state);
  if (sample.cost == 0) return 0;
  const uint32_t age = Age(sample, static_cast<uint32_t>(ToMilliseconds(now)));
  if (age == 0) return sample.cost;
  return std::max(kLeastCost, sample.cost * std::exp(static_cast<float>(age) * per_millisecond_));
}

void Ewma::Seed(EwmaState& state, float cost, TimePoint now) const {
  if (cost > 0) Store(state, cost, static_cast<uint32_t>(ToMilliseconds(now)));
}

}  // namespace sluice::balancer
