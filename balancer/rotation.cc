#include "balancer/rotation.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "balancer/random.h"

namespace sluice::balancer {

Rotation Rotation::Build(std::span<const uint32_t> weights) {
  Rotation rotation;
  rotation.endpoints_ = weights.size();
  const uint64_t sum = std::accumulate(weights.begin(), weights.end(), uint64_t{0});
  if (sum == 0 || weights.size() > std::numeric_limits<uint16_t>::max()) return rotation;
  const uint64_t turn = sum / std::accumulate(weights.begin(), weights.end(), uint32_t{0},
                                              std::gcd<uint32_t, uint32_t>);
  const bool equal = std::equal(weights.begin() + 1, weights.end(), weights.begin());
  if (turn > kMaxLength || (!equal && turn * weights.size() > kMaxSteps)) return rotation;

  rotation.sequence_.resize(turn);
  if (equal) {
    std::iota(rotation.sequence_.begin(), rotation.sequence_.end(), uint16_t{0});
    return rotation;
  }
  std::vector<EndpointView> endpoints;
  for (const uint32_t weight : weights) endpoints.push_back({weight, true});
  std::vector<RoundRobinState> states(weights.size());
  for (uint16_t& entry : rotation.sequence_) {
    entry = static_cast<uint16_t>(PickRoundRobin(endpoints, states).value_or(0));
  }
  return rotation;
}

uint64_t Rotation::StartCursor(uint64_t seed) const {
  return ScaleTo(NextRandom(seed), sequence_.size());
}

}  // namespace sluice::balancer
