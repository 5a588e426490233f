// nginx's least_conn: the endpoint with the fewest requests in flight for its weight; those that
// tie take turns in proportion to their weights.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "balancer/balancer.h"
#include "balancer/rotation.h"
#include "balancer/round_robin.h"

namespace sluice::balancer {

// How ties are broken: by the next places of `rotation` (built for the same endpoints), or, when
// none of them ties, by smooth weighted round robin among all that do. `cursor` and `states` are
// the caller's, the same that Rotation::Pick takes.
struct TieBreak {
  const Rotation& rotation;
  std::span<RoundRobinState> states;
  uint64_t& cursor;
};

// Picks the lowest in_flight / weight. `in_flight` should count the whole host: with private
// counters of several workers each sees only its own share and fills servers that others have
// filled. All spans have the same size. Exact while counts and weights are below 1024; beyond,
// loads that differ by less than a millionth tie. Weights from 2^31 on count as 2^31 - 1. nullopt
// when none may be picked. O(n), no allocation.
std::optional<size_t> PickLeastConn(std::span<const EndpointView> endpoints,
                                    std::span<const uint32_t> in_flight, TieBreak ties);

}  // namespace sluice::balancer
