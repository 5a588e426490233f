// Endpoints of some weights, all of which may be picked, with what the balancers under test keep
// for them.
#pragma once

#include <cstdint>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/round_robin.h"

namespace sluice::balancer {

struct EndpointSet {
  explicit EndpointSet(const std::vector<uint32_t>& weights)
      : states(weights.size()), in_flight(weights.size()) {
    for (const uint32_t weight : weights) endpoints.push_back({weight, true});
  }

  std::vector<EndpointView> endpoints;
  std::vector<RoundRobinState> states;
  std::vector<uint32_t> in_flight;
};

// How often `set`, an EndpointSet that can Pick, chooses each of its endpoints.
template <typename Set>
std::vector<int64_t> CountPicks(Set&& set, int64_t picks) {
  std::vector<int64_t> counts(set.endpoints.size());
  for (int64_t i = 0; i < picks; ++i) ++counts.at(set.Pick().value());
  return counts;
}

}  // namespace sluice::balancer
