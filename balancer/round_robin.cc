#include "balancer/round_robin.h"

#include <algorithm>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

int64_t TotalWeight(std::span<const EndpointView> endpoints) {
  int64_t total = 0;
  for (const EndpointView& endpoint : endpoints) {
    if (MayPick(endpoint)) total += endpoint.weight;
  }
  return total;
}

}  // namespace

std::optional<size_t> PickRoundRobin(std::span<const EndpointView> endpoints,
                                     std::span<RoundRobinState> states) {
  const int64_t total = TotalWeight(endpoints);
  // `current` is how far an endpoint is behind its share, in units of total. As long as nothing
  // changes it stays within two totals. What was left by other weights or another set may be far
  // outside and would starve or flood the endpoint, so it is cut to that range.
  const int64_t limit = 2 * total;
  std::optional<size_t> best;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (!MayPick(endpoints[i])) continue;
    int64_t& current = states[i].current;
    current = std::clamp(current, -limit, limit) + endpoints[i].weight;
    if (!best || current > states[*best].current) best = i;
  }
  if (best) states[*best].current -= total;
  return best;
}

void StartPhase(std::span<const EndpointView> endpoints, std::span<RoundRobinState> states,
                uint64_t seed) {
  // Each endpoint starts up to half a turn ahead or behind. Eligibility changes and the rotation
  // stays, so every endpoint gets a place.
  int64_t total = 0;
  for (const EndpointView& endpoint : endpoints) total += endpoint.weight;
  if (total == 0) return;
  for (RoundRobinState& state : states) {
    const auto offset = NextRandom(seed) % static_cast<uint64_t>(total);
    state.current = static_cast<int64_t>(offset) - total / 2;
  }
}

}  // namespace sluice::balancer
