// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): an endpoint takes
// no more than `factor` times its fair share of what is in flight; keys of a full one go to the
// next place of the table. An option for chash and maglev.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "balancer/balancer.h"

namespace sluice::balancer {

// Passed to Find of a table as what may be taken. Made for one pick.
class BoundedLoad {
 public:
  // `factor` is at least 1 (1.25 is usual); the sums are of all endpoints that may be picked, so
  // that the bound grows when some are missing. Counts are of the whole host.
  BoundedLoad(std::span<const EndpointView> endpoints, std::span<const uint32_t> in_flight,
              double factor)
      : endpoints_(endpoints), in_flight_(in_flight) {
    uint64_t load = 1;  // the request that is to be placed
    uint64_t weight = 0;
    for (size_t i = 0; i < endpoints.size(); ++i) {
      if (!MayPick(endpoints[i])) continue;
      load += in_flight[i];
      weight += endpoints[i].weight;
    }
    per_weight_ =
        weight == 0 ? 0 : factor * static_cast<double>(load) / static_cast<double>(weight);
  }

  bool operator()(size_t i) const {
    return MayPick(endpoints_[i]) && in_flight_[i] < per_weight_ * endpoints_[i].weight;
  }

 private:
  std::span<const EndpointView> endpoints_;
  std::span<const uint32_t> in_flight_;
  double per_weight_;
};

}  // namespace sluice::balancer
