#include "gateway/proxy/retry_policy.h"

#include <algorithm>

namespace sluice {
namespace {

// Then every method may be repeated.
bool IsUnseen(RetryCondition condition) {
  return condition == RetryCondition::kConnectFailure ||
         condition == RetryCondition::kRefusedStream;
}

bool IsListed(RetryCondition condition, const conf::RetryConfig& rules) {
  switch (condition) {
    case RetryCondition::kConnectFailure:
      return rules.connect_failure;
    case RetryCondition::kRefusedStream:
      return rules.refused_stream;
    case RetryCondition::kReset:
      return rules.reset;
    case RetryCondition::kTimeout:
      return rules.timeout;
    case RetryCondition::kTryTimeout:
    case RetryCondition::kStatus:  // the caller has looked
      return true;
    case RetryCondition::kNone:
      break;
  }
  return false;
}

}  // namespace

RetryCondition ConditionOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kConnectRefused:
    case ErrorCode::kConnectFailed:
    case ErrorCode::kConnectTimeout:
    case ErrorCode::kUpstreamTlsFailed:
      if (error.retry == Retry::kSafe) return RetryCondition::kConnectFailure;
      break;
    case ErrorCode::kUpstreamReadTimeout:
      if (error.retry == Retry::kNever) return RetryCondition::kTimeout;
      break;
    case ErrorCode::kUpstreamTryTimeout:
      return RetryCondition::kTryTimeout;
    default:
      break;
  }
  if (error.retry == Retry::kNever) return RetryCondition::kNone;
  return error.retry == Retry::kSafe ? RetryCondition::kRefusedStream : RetryCondition::kReset;
}

bool IsRetryStatus(int status, const conf::RetryConfig& rules) {
  return std::find(rules.statuses.begin(), rules.statuses.end(), status) != rules.statuses.end();
}

RetryDecision DecideRetry(RetryCondition condition, const AttemptFacts& facts,
                          const conf::RetryConfig& rules) {
  if (condition == RetryCondition::kNone || !facts.body_replayable) return RetryDecision::kGiveUp;
  // RFC 9110 9.2.2: a request that may have been seen is repeated only if that changes nothing.
  if (!IsUnseen(condition) && !IsIdempotent(facts.method)) return RetryDecision::kGiveUp;
  const bool lost =
      condition == RetryCondition::kReset || condition == RetryCondition::kRefusedStream;
  if (lost && facts.stale_connection && !facts.stale_retried) {
    return RetryDecision::kFreshConnection;
  }
  if (!IsListed(condition, rules) || facts.retries_left == 0) return RetryDecision::kGiveUp;
  if (facts.retry_timeout > Duration::zero() && facts.elapsed >= facts.retry_timeout) {
    return RetryDecision::kGiveUp;
  }
  return RetryDecision::kOtherEndpoint;
}

}  // namespace sluice
