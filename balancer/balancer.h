// What every balancing algorithm has in common. Pure: no clock, no network, no HTTP. A Balancer is
// immutable and built for one set of endpoints; what changes from pick to pick lives in a PickState
// kept by the caller, so that it can outlive a reload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sluice::balancer {

// An endpoint as an algorithm sees it. `eligible` says whether it may be picked now (healthy, not
// tried before by this request, not over its limits); `weight` 0 is never picked.
struct EndpointView {
  uint32_t weight = 1;
  bool eligible = true;
};

}  // namespace sluice::balancer
