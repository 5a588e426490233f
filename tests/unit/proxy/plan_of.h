// A plan of endpoints that are there already.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "gateway/proxy/upstream_plan.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

// Each with the weight and priority in its shared record; in that order when it is by priority.
inline std::shared_ptr<const UpstreamPlan> PlanOf(
    UpstreamPlan::Type type, std::span<const std::shared_ptr<Endpoint>> endpoints) {
  std::vector<PlannedEndpoint> planned;
  for (const auto& endpoint : endpoints) {
    conf::NodeConfig node;
    node.weight = endpoint->shared->weight;
    node.priority = endpoint->shared->priority;
    planned.emplace_back(endpoint->address, node);
  }
  return UpstreamPlan::Make(type, std::move(planned), nullptr);
}

}  // namespace sluice
