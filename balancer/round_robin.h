// nginx's smooth weighted round robin: over any window, picks are spread in proportion to the
// weights and as evenly in time as possible (5,1,1 gives A A B A C A A).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "balancer/balancer.h"

namespace sluice::balancer {

// One endpoint's place in the rotation; starts at zero. Kept by the caller for each endpoint.
struct RoundRobinState {
  int64_t current = 0;
};

// Picks among `endpoints` and advances `states` (same size). nullopt when none is eligible with a
// weight above zero. Ties go to the first. O(n), no allocation.
std::optional<size_t> PickRoundRobin(std::span<const EndpointView> endpoints,
                                     std::span<RoundRobinState> states);

// Puts a fresh rotation at a pseudo-random phase, so that many workers do not send their first
// requests to the same endpoint.
void StartPhase(std::span<const EndpointView> endpoints, std::span<RoundRobinState> states,
                uint64_t seed);

}  // namespace sluice::balancer
