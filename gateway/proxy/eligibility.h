// May a request be sent to an endpoint now? The one place that knows all reasons against it which
// the host shares: the operator's word, failed checks, ejection, its circuit breaker. (Its weight,
// and that a request has tried it before, are the picker's business.) A few loads each, and true
// for this moment only: asked anew for each attempt.
#pragma once

#include "balancer/outlier.h"
#include "gateway/base/time.h"
#include "gateway/proxy/health.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

// The operator does not keep requests away, and it is still configured.
inline bool IsWanted(Endpoint& endpoint) {
  return endpoint.shared->order.load(std::memory_order_relaxed) == NodeOrder::kNone &&
         !endpoint.retired;
}

// To checks, and not ejected: what counts for nothing in a panic.
inline bool IsHealthyNow(Endpoint& endpoint, MonoTime now) {
  return (!endpoint.checked || IsHealthy(*endpoint.shared)) &&
         !balancer::Outlier::IsEjected(endpoint.shared->outlier, now);
}

// Its breaker lets calls through.
inline bool IsAdmitted(Endpoint& endpoint, MonoTime now) {
  return endpoint.breaker == nullptr || endpoint.breaker->MayAdmit(endpoint.shared->breaker, now);
}

inline bool MayTake(Endpoint& endpoint, MonoTime now) {
  return IsWanted(endpoint) && IsHealthyNow(endpoint, now) && IsAdmitted(endpoint, now);
}

}  // namespace sluice
