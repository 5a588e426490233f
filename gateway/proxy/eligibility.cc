#include "gateway/proxy/eligibility.h"

#include "balancer/outlier.h"
#include "gateway/proxy/health.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

bool MayTake(Endpoint& endpoint, MonoTime now) {
  SharedRecord& shared = *endpoint.shared;
  if (endpoint.checked && !IsHealthy(shared)) return false;
  return !IsOrderedAway(endpoint) && !balancer::Outlier::IsEjected(shared.outlier, now) &&
         (endpoint.breaker == nullptr || endpoint.breaker->MayAdmit(shared.breaker, now));
}

bool IsOrderedAway(Endpoint& endpoint) {
  return endpoint.shared->order.load(std::memory_order_relaxed) != NodeOrder::kNone;
}

}  // namespace sluice
