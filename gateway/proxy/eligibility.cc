#include "gateway/proxy/eligibility.h"

#include "balancer/outlier.h"
#include "gateway/proxy/health.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

Standing StandingOf(Endpoint& endpoint, MonoTime now) {
  SharedRecord& shared = *endpoint.shared;
  const NodeOrder order = shared.order.load(std::memory_order_relaxed);
  return {
      .wanted = order == NodeOrder::kNone && !endpoint.retired,
      .healthy = (!endpoint.checked || IsHealthy(shared)) &&
                 !balancer::Outlier::IsEjected(shared.outlier, now),
      .admitted = endpoint.breaker == nullptr || endpoint.breaker->MayAdmit(shared.breaker, now)};
}

bool MayTake(Endpoint& endpoint, MonoTime now) {
  const Standing standing = StandingOf(endpoint, now);
  return standing.wanted && standing.healthy && standing.admitted;
}

}  // namespace sluice
