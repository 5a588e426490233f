// How the calls of an upstream fail politely: which attempts are repeated, when the upstream is cut
// off, how much it is given at one time. Parts of UpstreamConfig; all but the retries are ours.
#pragma once

#include <cstdint>
#include <vector>

#include "gateway/base/time.h"

namespace sluice::conf {

struct RetryConfig {
  // How an attempt fails such that it may be repeated; idempotent methods only, except where the
  // upstream has not looked at the request.
  bool connect_failure = true;  // no connection, or no TLS
  bool refused_stream = true;   // the upstream has not looked at the request
  bool reset = true;            // the connection ended before a response
  bool timeout = false;         // nothing came for timeout.read
  std::vector<int> statuses;    // the response has one of these

  Duration per_try_timeout{};  // from the start of an attempt to its response head; zero: none
  Duration backoff_base{};     // zero: the next attempt follows at once
  Duration backoff_max = milliseconds(250);
  uint32_t budget_percent = 20;  // of the upstream's requests under way
  uint32_t budget_floor = 3;     // retries that are always allowed
};

// As balancer::BreakerConfig.
struct CircuitBreakerConfig {
  enum class Scope : uint8_t { kUpstream, kEndpoint, kBoth };

  Scope scope = Scope::kUpstream;
  uint32_t consecutive_failures = 0;  // 0 turns a condition off
  uint8_t failure_percentage = 50;
  uint8_t slow_percentage = 0;
  Duration slow_call = seconds(1);  // that long or longer, to the response head
  uint32_t minimum_requests = 20;
  Duration open_time = seconds(5);
  Duration max_open_time = seconds(300);
  uint8_t probes = 3;
  Duration probe_limit = seconds(30);
  Duration ramp = seconds(10);
  bool count_429 = false;
};

// Of the whole host; 0: none.
struct UpstreamLimits {
  uint32_t connections = 0;
  uint32_t requests = 0;  // under way at one time
  uint32_t retries = 0;   // of these
  uint32_t pending = 0;   // requests that may wait for a place; 0: none waits
  Duration pending_timeout = seconds(1);
};

}  // namespace sluice::conf
