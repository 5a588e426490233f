#include "gateway/proxy/eligibility.h"

#include "balancer/outlier.h"
#include "gateway/proxy/health.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

bool MayTake(Endpoint& endpoint, MonoTime now) {
  if (endpoint.checked && !IsHealthy(*endpoint.shared)) return false;
  return !IsOrderedAway(endpoint) && !balancer::Outlier::IsEjected(endpoint.shared->outlier, now);
}

bool IsOrderedAway(Endpoint& endpoint) {
  return endpoint.shared->order.load(std::memory_order_relaxed) != NodeOrder::kNone;
}

}  // namespace sluice
