// May a request be sent to an endpoint now? The one place that knows all reasons against it which
// the host shares: the operator's word, failed checks, ejection, its circuit breaker. (Its weight,
// and that a request has tried it before, are the picker's business.)
#pragma once

#include "gateway/base/time.h"

namespace sluice {

struct Endpoint;

// A few loads. True for this moment only: asked anew for each attempt.
bool MayTake(Endpoint& endpoint, MonoTime now);

// The same in its parts, for those who weigh them against each other.
struct Standing {
  bool wanted = true;    // the operator does not keep requests away, and it is still configured
  bool healthy = true;   // to checks, and not ejected: what counts for nothing in a panic
  bool admitted = true;  // its breaker lets calls through
};
Standing StandingOf(Endpoint& endpoint, MonoTime now);

}  // namespace sluice
