// May a failed attempt be followed by another one? Pure functions; the facts come in. The budget,
// which needs what other workers do, is asked by the caller when they say yes.
#pragma once

#include <cstdint>

#include "conf/resilience.h"
#include "gateway/base/error.h"
#include "gateway/base/time.h"
#include "gateway/http/message.h"

namespace sluice {

// The way in which an attempt failed, as `retry.conditions` names it.
enum class RetryCondition : uint8_t {
  kNone,            // never repeated
  kConnectFailure,  // no connection, or no TLS
  kRefusedStream,   // there was one, but nothing of the request was looked at
  kReset,           // the connection ended before a response
  kTimeout,         // nothing came for timeout.read
  kTryTimeout,      // no response head within per_try_timeout: who sets that wants the retry
  kStatus,          // the response has a listed status
};

RetryCondition ConditionOf(const Error& error);

// Is a response with that status one that is repeated?
bool IsRetryStatus(int status, const conf::RetryConfig& rules);

struct AttemptFacts {
  Method method = Method::kOther;
  bool body_replayable = true;    // what was sent of the request body is still at hand
  bool stale_connection = false;  // a kept connection that the upstream had given up
  bool stale_retried = false;     // such a retry was used before
  uint32_t retries_left = 0;
  Duration elapsed{};        // since the first attempt, with the wait before the next
  Duration retry_timeout{};  // zero: no limit
};

enum class RetryDecision : uint8_t {
  kGiveUp,
  kFreshConnection,  // the same endpoint again, on a new connection; not counted as a retry
  kOtherEndpoint,
};

RetryDecision DecideRetry(RetryCondition condition, const AttemptFacts& facts,
                          const conf::RetryConfig& rules);

}  // namespace sluice
