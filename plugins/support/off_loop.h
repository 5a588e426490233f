// Work on a request's credentials that takes too long for a loop (a slow signature, the hash of a
// password): it runs on a pool thread while the request is held. What is under way at once is
// limited for each worker, so that nobody can fill the pool by guessing.
#pragma once

#include <functional>

#include "gateway/base/result.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

struct OffLoopVerification {
  // On the pool thread: touches nothing that a request or the plugin's object owns, as both may be
  // gone by then.
  std::function<Status()> verify;
  // On the loop thread, whether the request still lives or not; the same goes for it.
  std::function<void()> remember;  // after success
  // On the loop thread, while the request lives.
  std::function<Verdict(RequestContext& request, const Status& verified)> decide;
};

// For `return`, or to resume with unless it is kSuspend. 503 when too much is under way. `held`:
// the ticket of a request that is held already, which is taken; null: it is not.
Verdict VerifyOffLoop(RequestContext& request, OffLoopVerification verification,
                      Ticket* held = nullptr);

}  // namespace sluice::plugins
