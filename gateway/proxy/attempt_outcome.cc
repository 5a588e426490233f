#include "gateway/proxy/attempt_outcome.h"

#include <optional>
#include <vector>

#include "gateway/base/log.h"
#include "gateway/proxy/grpc.h"

namespace sluice {
namespace {

// Of an attempt that got no usable response; nullopt: the endpoint is not to blame.
std::optional<CheckResult> FailureOf(ErrorCode error) {
  switch (error) {
    case ErrorCode::kConnectTimeout:
    case ErrorCode::kUpstreamSendTimeout:
    case ErrorCode::kUpstreamReadTimeout:
    case ErrorCode::kUpstreamTryTimeout:
    case ErrorCode::kTotalTimeout:
      return CheckResult::kTimeout;
    case ErrorCode::kConnectRefused:
    case ErrorCode::kConnectFailed:
    case ErrorCode::kUpstreamTlsFailed:
    case ErrorCode::kUpstreamReset:
    case ErrorCode::kUpstreamClosed:
    case ErrorCode::kResponseTruncated:
      return CheckResult::kTcpFailure;
    case ErrorCode::kInvalidResponse:
    case ErrorCode::kResponseHeadTooLarge:
      return CheckResult::kHttpFailure;
    default:
      return std::nullopt;
  }
}

std::string_view EjectionReasonName(balancer::EjectionReason reason) {
  switch (reason) {
    case balancer::EjectionReason::kConsecutiveErrors:
      return "consecutive_errors";
    case balancer::EjectionReason::kConsecutiveGatewayErrors:
      return "consecutive_gateway_errors";
    case balancer::EjectionReason::kFailurePercentage:
      return "failure_percentage";
    case balancer::EjectionReason::kNone:
      break;
  }
  return "";
}

template <typename To>
To Limited(Duration time) {
  return std::chrono::duration_cast<To>(time);
}

balancer::Outlier MakeOutlier(const conf::OutlierDetection& config) {
  using balancer::milliseconds;
  return balancer::Outlier({
      .consecutive_errors = config.consecutive_errors,
      .consecutive_gateway_errors = config.consecutive_gateway_errors,
      .failure_percentage = config.failure_percentage,
      .failure_minimum_hosts = config.minimum_hosts,
      .failure_minimum_requests = config.minimum_requests,
      .interval = Limited<milliseconds>(config.interval),
      .base_ejection_time = Limited<milliseconds>(config.base_ejection_time),
      .max_ejection_time = Limited<milliseconds>(config.max_ejection_time),
      .max_ejection_percentage = config.max_ejection_percent,
      .always_eject_one = config.always_eject_one,
  });
}

void ReportOutlier(Endpoint& endpoint, std::span<const std::shared_ptr<Endpoint>> others,
                   const conf::UpstreamConfig& config, balancer::Outcome outcome, MonoTime now) {
  std::vector<balancer::OutlierState*> states;
  if (outcome != balancer::Outcome::kSuccess) {  // which ejects nobody
    states.reserve(others.size());
    for (const auto& other : others) states.push_back(&other->shared->outlier);
  }
  balancer::OutlierState& state = endpoint.shared->outlier;
  const auto reason = MakeOutlier(*config.outlier).Report(state, states, outcome, now);
  if (reason == balancer::EjectionReason::kNone) return;
  const balancer::Ejection ejection = balancer::Outlier::Read(state);
  Log(LogLevel::kWarn, "node is ejected",
      {{"upstream", config.key},
       {"node", endpoint.name},
       {"reason", EjectionReasonName(reason)},
       {"milliseconds", Limited<milliseconds>(ejection.until - now).count()},
       {"times", static_cast<int>(ejection.times)}});
}

}  // namespace

int JudgedStatus(const conf::UpstreamConfig& config, int status, const HeaderList& fields) {
  const bool wanted = config.outlier || (config.checks && config.checks->passive);
  return wanted ? OutcomeStatus(status, fields) : status;
}

bool IsFailure(const conf::UpstreamConfig& config, int status) {
  if (config.outlier && status >= 500) return true;
  if (!config.checks || !config.checks->passive) return false;
  const auto report = JudgePassively(*config.checks->passive, {.status = status});
  return report && report->result != CheckResult::kSuccess;
}

std::optional<CheckReport> JudgePassively(const conf::PassiveCheck& check, AttemptEnd end) {
  if (end.error != ErrorCode::kNone) {
    const auto failure = FailureOf(end.error);
    return failure ? std::optional(CheckReport{*failure}) : std::nullopt;
  }
  // Whoever answers is reached.
  if (check.type == conf::CheckType::kTcp) return CheckReport{CheckResult::kSuccess};
  return JudgeStatus(check.rules, end.status);
}

std::optional<balancer::Outcome> OutcomeOf(AttemptEnd end) {
  using balancer::Outcome;
  if (end.error != ErrorCode::kNone) {
    return FailureOf(end.error) ? std::optional(Outcome::kLocalError) : std::nullopt;
  }
  if (end.status >= 502 && end.status <= 504) return Outcome::kGatewayError;
  return end.status >= 500 ? Outcome::kServerError : Outcome::kSuccess;
}

void ReportOutcome(Endpoint& endpoint, std::span<const std::shared_ptr<Endpoint>> others,
                   const conf::UpstreamConfig& config, AttemptEnd end, MonoTime now) {
  if (config.outlier) {
    if (const auto outcome = OutcomeOf(end)) {
      ReportOutlier(endpoint, others, config, *outcome, now);
    }
  }
  if (!config.checks || !config.checks->passive) return;
  const conf::PassiveCheck& check = *config.checks->passive;
  const auto report = JudgePassively(check, end);
  if (!report) return;
  const CheckedNode of{config.key, endpoint.name, "passive"};
  LogHealthChange(ReportHealth(*endpoint.shared, check.rules, *report), of, *report,
                  end.error == ErrorCode::kNone ? "" : ReasonName(end.error));
}

}  // namespace sluice
