#include "gateway/proxy/retry_policy.h"

namespace sluice {

RetryDecision DecideRetry(const Error& error, const AttemptFacts& facts) {
  if (error.retry == Retry::kNever || !facts.body_replayable) return RetryDecision::kGiveUp;
  // RFC 9110 9.2.2: a request that may have been seen is repeated only if that changes nothing.
  if (error.retry == Retry::kIdempotent && !IsIdempotent(facts.method)) {
    return RetryDecision::kGiveUp;
  }
  if (facts.stale_connection && !facts.stale_retried) return RetryDecision::kFreshConnection;
  if (facts.retries_left == 0) return RetryDecision::kGiveUp;
  if (facts.retry_timeout > Duration::zero() && facts.elapsed >= facts.retry_timeout) {
    return RetryDecision::kGiveUp;
  }
  return RetryDecision::kOtherEndpoint;
}

}  // namespace sluice
