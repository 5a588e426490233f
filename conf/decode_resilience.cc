// What an upstream says about retries, its circuit breaker and its limits.
#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr int kFirstStatus = 400;
constexpr int kLastStatus = 599;
constexpr int64_t kMostRequests = 1'000'000'000;

// A word for a way to fail, or a status, as text or as an integer.
struct RetryCondition {
  bool RetryConfig::*way = nullptr;
  int status = 0;
};

struct RetryConditions {
  std::optional<RetryCondition> operator()(const Place& place) const {
    const Node& node = place.node;
    if (node.is_string()) {
      if (node.text == "connect_failure") return RetryCondition{&RetryConfig::connect_failure};
      if (node.text == "refused_stream") return RetryCondition{&RetryConfig::refused_stream};
      if (node.text == "reset") return RetryCondition{&RetryConfig::reset};
      if (node.text == "timeout") return RetryCondition{&RetryConfig::timeout};
    }
    auto status = node.is_string() ? ParseDecimal(node.text) : std::nullopt;
    if (node.kind == Node::Kind::kInteger && node.integer > 0) {
      status = static_cast<uint64_t>(node.integer);
    }
    if (status && *status >= kFirstStatus && *status <= kLastStatus) {
      return RetryCondition{nullptr, static_cast<int>(*status)};
    }
    return place.Expected(
        "connect_failure, refused_stream, reset, timeout or a status from 400 to 599");
  }
};

Field<RetryConfig> ConditionsField() {
  return {"conditions", [](const Place& place, RetryConfig& retry) {
            const auto conditions = ListOf<RetryConditions>{{}}(place);
            if (!conditions) return;
            retry.connect_failure = retry.refused_stream = retry.reset = retry.timeout = false;
            for (const RetryCondition& condition : *conditions) {
              if (condition.way != nullptr) {
                retry.*condition.way = true;
              } else {
                retry.statuses.push_back(condition.status);
              }
            }
          }};
}

Field<RetryConfig> BackOffField() {
  using T = RetryConfig;
  static const Fields<T> kFields = {
      Required(Bind("base", &T::backoff_base, Seconds{})),
      Bind("max", &T::backoff_max, Seconds{}),
  };
  return {"backoff", [](const Place& place, RetryConfig& retry) {
            ReadFields(place, kFields, retry);
            if (retry.backoff_max >= retry.backoff_base) return;
            if (place.node.Find("max") == nullptr) {
              retry.backoff_max = retry.backoff_base;
            } else {
              place.Fail("expected a max that is not less than base");
            }
          }};
}

Field<RetryConfig> BudgetField() {
  using T = RetryConfig;
  static const Fields<T> kFields = {
      Bind("percent", &T::budget_percent, Integer<uint32_t>{0, 100}),
      Bind("floor", &T::budget_floor, Integer<uint32_t>{0, kMostRequests}),
  };
  return {"budget",
          [](const Place& place, RetryConfig& retry) { ReadFields(place, kFields, retry); }};
}

}  // namespace

std::optional<RetryConfig> RetryRules::operator()(const Place& place) const {
  using T = RetryConfig;
  static const Fields<T> kFields = {
      ConditionsField(),
      Bind("per_try_timeout", &T::per_try_timeout, Seconds{}),
      BackOffField(),
      BudgetField(),
  };
  return Record<T>{kFields}(place);
}

std::optional<CircuitBreakerConfig> CircuitBreaker::operator()(const Place& place) const {
  using T = CircuitBreakerConfig;
  using Scope = T::Scope;
  static const Fields<T> kFields = {
      Bind("scope", &T::scope,
           Choice<Scope>{{{"upstream", Scope::kUpstream},
                          {"endpoint", Scope::kEndpoint},
                          {"both", Scope::kBoth}}}),
      Bind("consecutive_failures", &T::consecutive_failures, Integer<uint32_t>{0, kMostRequests}),
      Bind("failure_percentage", &T::failure_percentage, Integer<uint8_t>{0, 100}),
      Bind("slow_percentage", &T::slow_percentage, Integer<uint8_t>{0, 100}),
      Bind("slow_call", &T::slow_call, Seconds{}),
      Bind("minimum_requests", &T::minimum_requests, Integer<uint32_t>{1, kMostRequests}),
      Bind("open_time", &T::open_time, Seconds{}),
      Bind("max_open_time", &T::max_open_time, Seconds{}),
      Bind("probes", &T::probes, Integer<uint8_t>{1, 255}),
      Bind("probe_limit", &T::probe_limit, Seconds{}),
      Bind("ramp", &T::ramp, Seconds{.positive = false}),
      Bind("count_429", &T::count_429, Boolean{}),
  };
  auto breaker = Record<T>{kFields}(place);
  if (!breaker) return std::nullopt;
  if (breaker->consecutive_failures == 0 && breaker->failure_percentage == 0 &&
      breaker->slow_percentage == 0) {
    place.Fail("expected a condition above 0: it would never open");
  }
  if (breaker->max_open_time < breaker->open_time) {
    place.Fail("expected a max_open_time (default 300) that is not less than open_time");
  }
  return breaker;
}

std::optional<UpstreamLimits> UpstreamLimit::operator()(const Place& place) const {
  using T = UpstreamLimits;
  static const Fields<T> kFields = {
      Bind("connections", &T::connections, Integer<uint32_t>{0, kMostRequests}),
      Bind("requests", &T::requests, Integer<uint32_t>{0, kMostRequests}),
      Bind("retries", &T::retries, Integer<uint32_t>{0, kMostRequests}),
      Bind("pending", &T::pending, Integer<uint32_t>{0, kMostRequests}),
      Bind("pending_timeout", &T::pending_timeout, Seconds{}),
  };
  const auto limits = Record<T>{kFields}(place);
  if (!limits) return std::nullopt;
  if (limits->pending > 0 && limits->connections == 0 && limits->requests == 0) {
    place.Fail("pending has no effect without a limit of connections or requests");
  }
  if (limits->pending == 0 && place.node.Find("pending_timeout") != nullptr) {
    place.Fail("pending_timeout has no effect without pending");
  }
  return limits;
}

}  // namespace sluice::conf
