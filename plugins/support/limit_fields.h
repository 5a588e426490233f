// What APISIX's limits have in common: how they refuse, and what happens when they cannot decide.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "conf/declaration.h"
#include "gateway/plugin/plugin.h"
#include "ratelimit/limit.h"

namespace sluice::plugins {

struct LimitFields {
  int rejected_code = 503;
  std::string rejected_msg;
  bool allow_degradation = false;

  Verdict Reject(RequestContext& request) const {
    if (rejected_msg.empty()) return request.Reply(rejected_code);
    return request.ReplyErrorMessage(rejected_code, rejected_msg);
  }
  Verdict Fail(RequestContext& request, std::string_view detail) const {
    return request.Fail(detail, allow_degradation ? FailureMode::kOpen : FailureMode::kClosed);
  }
  Verdict FailFull(RequestContext& request) const {
    return Fail(request, "expected room in the table of limits (gateway.limits.limit_keys)");
  }
};

// Adds them to those of a T that is derived from LimitFields.
template <typename T>
void AddLimitFields(conf::Fields<T>& fields) {
  fields.push_back(conf::Declare<T>("rejected_code", static_cast<int T::*>(&T::rejected_code),
                                    conf::Integer<int>{200, 599},
                                    "Status of the reply to a request above the limit."));
  fields.push_back(conf::Declare<T>("rejected_msg", static_cast<std::string T::*>(&T::rejected_msg),
                                    conf::Text{1, 4096},
                                    "Its `error_msg`; without one the status says enough."));
  fields.push_back(conf::Declare<T>(
      "allow_degradation", static_cast<bool T::*>(&T::allow_degradation), conf::Boolean{},
      "Requests go on when the limit cannot be decided; otherwise they end with 500."));
}

// Those of APISIX's policies that need Redis.
template <typename T>
void AddRedisFields(conf::Fields<T>& fields) {
  for (const std::string_view name :
       {"redis_host", "redis_port", "redis_username", "redis_password", "redis_database",
        "redis_timeout", "redis_ssl", "redis_ssl_verify", "redis_keepalive_timeout",
        "redis_keepalive_pool", "redis_cluster_nodes", "redis_cluster_name", "redis_cluster_ssl",
        "redis_cluster_ssl_verify"}) {
    fields.push_back(conf::NotBuilt<T>(name));
  }
}

// Where counts are kept. "local" is the whole host here: its workers count together.
enum class LimitPolicy : uint8_t { kLocal };

inline conf::Choice<LimitPolicy> LimitPolicies() {
  return {{{"local", LimitPolicy::kLocal}}, {"redis", "redis-cluster", "redis-sentinel"}};
}

inline ratelimit::TimePoint LimitTime(const RequestContext& request) {
  return ratelimit::TimePoint(request.services().now().time_since_epoch());
}

}  // namespace sluice::plugins
