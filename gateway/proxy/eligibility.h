// May a request be sent to an endpoint now? The one place that knows all reasons against it which
// the host shares: the operator's word, failed checks, ejection, its circuit breaker. (Its weight,
// and that a request has tried it before, are the picker's business.)
#pragma once

#include "gateway/base/time.h"

namespace sluice {

struct Endpoint;

// A few loads. True for this moment only: asked anew for each attempt.
bool MayTake(Endpoint& endpoint, MonoTime now);

// The operator keeps requests away: also when all other endpoints are unhealthy (panic).
bool IsOrderedAway(Endpoint& endpoint);

}  // namespace sluice
