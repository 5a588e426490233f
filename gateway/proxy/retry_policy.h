// May a failed attempt be followed by another one? One pure function; the facts come in.
#pragma once

#include <cstdint>

#include "gateway/base/error.h"
#include "gateway/base/time.h"
#include "gateway/http/message.h"

namespace sluice {

struct AttemptFacts {
  Method method = Method::kOther;
  bool body_replayable = true;    // what was sent of the request body is still at hand
  bool stale_connection = false;  // a kept connection that the upstream had given up
  bool stale_retried = false;     // such a retry was used before
  uint32_t retries_left = 0;
  Duration elapsed{};        // since the first attempt
  Duration retry_timeout{};  // zero: no limit
};

enum class RetryDecision : uint8_t {
  kGiveUp,
  kFreshConnection,  // the same endpoint again, on a new connection; not counted as a retry
  kOtherEndpoint,
};

RetryDecision DecideRetry(const Error& error, const AttemptFacts& facts);

}  // namespace sluice
