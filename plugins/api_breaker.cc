#include "plugins/api_breaker.h"

#include <algorithm>
#include <chrono>

#include "gateway/plugin/registration.h"
#include "gateway/plugin/shared_limits.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/limit_fields.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ApiBreaker);

namespace {

using conf::Declare;

constexpr size_t kMostHeaders = 100;
constexpr size_t kMostBody = 1024 * 1024;

const conf::Fields<ApiBreaker::HeaderConfig>& HeaderConfigFields() {
  using T = ApiBreaker::HeaderConfig;
  static const conf::Fields<T> kFields = {
      conf::Required(Declare("key", &T::key, FieldName(), "Its name.")),
      conf::Required(
          Declare("value", &T::value, conf::Text{1, 4096}, "Its value; may have $variables.")),
  };
  return kFields;
}

conf::Fields<ApiBreaker::Side> SideFields(std::string_view count, int first, int last) {
  using T = ApiBreaker::Side;
  return {
      Declare("http_statuses", &T::http_statuses,
              conf::ListOf<conf::Integer<int>>{{first, last}, 1, true, 400},
              "Statuses of the upstream that count."),
      Declare(count, &T::count, conf::Integer<uint32_t>{1, 255}, "How often it takes."),
  };
}

const conf::Fields<ApiBreaker::Side>& HealthyFields() {
  static const auto kFields = SideFields("successes", 200, 499);
  return kFields;
}

const conf::Fields<ApiBreaker::Side>& UnhealthyFields() {
  static const auto kFields = SideFields("failures", 500, 599);
  return kFields;
}

bool Contains(const std::vector<int>& statuses, int status) {
  return std::find(statuses.begin(), statuses.end(), status) != statuses.end();
}

}  // namespace

const conf::Fields<ApiBreaker::Config>& ApiBreaker::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(Declare("break_response_code", &T::break_response_code,
                             conf::Integer<int>{200, 599},
                             "Status of the reply while it is open.")),
      Declare("break_response_body", &T::break_response_body,
              conf::Text{.min = 0, .max = kMostBody, .lines = true}, "Body of that reply."),
      Declare(
          "break_response_headers", &T::break_response_headers,
          conf::ListOf<conf::Record<HeaderConfig>>{{HeaderConfigFields()}, 0, false, kMostHeaders},
          "Fields of that reply."),
      Declare("max_breaker_sec", &T::max_breaker_sec, conf::Integer<int>{3, 86'400},
              "The longest break, in seconds. The first is 2 s, each next one twice as long."),
      Declare("unhealthy", &T::unhealthy, conf::Record<Side>{UnhealthyFields()},
              "So many of these answers open the breaker."),
      Declare("healthy", &T::healthy, conf::Record<Side>{HealthyFields()},
              "So many of these answers in a row make it forget the failures."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> ApiBreaker::Make(Config config, const PluginBuild& build) {
  // A list that is not given in a part that is keeps its default.
  if (config.healthy.http_statuses.empty()) config.healthy.http_statuses = {200};
  if (config.unhealthy.http_statuses.empty()) config.unhealthy.http_statuses = {500};
  auto plugin = std::make_unique<ApiBreaker>(
      config, SharedLimits::NameOf(std::string(build.owner) + " api-breaker"));
  for (const HeaderConfig& header : config.break_response_headers) {
    plugin->headers_.emplace_back(
        header.key, CompileTemplate(header.value, build.place, "break_response_headers"));
  }
  return plugin;
}

ApiBreaker::ApiBreaker(Config config, const Hash128& name)
    : config_(std::move(config)),
      name_(name),
      breaker_({.failures = config_.unhealthy.count,
                .successes = config_.healthy.count,
                .max_break = std::chrono::seconds(config_.max_breaker_sec)}) {}

// As in APISIX: each host and path for itself.
ratelimit::KeyHash ApiBreaker::KeyOf(RequestContext& request) const {
  const RequestView& view = request.view();
  const SharedLimits& limits = request.services().limits();
  return limits.KeyOf(limits.Within(name_, view.host), view.path);
}

Verdict ApiBreaker::OnAccess(RequestContext& request) const {
  const auto word = request.services().limits().table().Find(KeyOf(request));
  if (!word) return Verdict::kContinue;
  const balancer::ApiBreakerState state{*word};
  if (breaker_.RefusedFor(state, LimitTime(request)).count() == 0) return Verdict::kContinue;
  for (const auto& [name, value] : headers_) {
    request.AddResponseHeader(name, request.Expand(value));
  }
  if (config_.break_response_body.empty()) return request.Reply(config_.break_response_code);
  const bool json = config_.break_response_body.starts_with('{');
  return request.Reply(config_.break_response_code, config_.break_response_body,
                       json ? "application/json" : "text/plain; charset=utf-8");
}

// A report as a step from word to word, which the table makes exact.
struct ApiBreaker::Report {
  const balancer::ApiBreaker& breaker;
  bool healthy;
  nanoseconds keep;

  ratelimit::Step Next(uint64_t word, uint64_t /*cost*/, ratelimit::TimePoint now) const {
    balancer::ApiBreakerState state{word};
    breaker.Report(state, healthy, now);
    return {.decision = {.allowed = true}, .word = state.word.load(), .keep = keep};
  }
};

void ApiBreaker::OnLog(RequestContext& request, const AccessRecord& record) const {
  const bool unhealthy = Contains(config_.unhealthy.http_statuses, record.upstream_status);
  if (!unhealthy && !Contains(config_.healthy.http_statuses, record.upstream_status)) return;
  ratelimit::KeyTable& table = request.services().limits().table();
  const ratelimit::KeyHash key = KeyOf(request);
  if (!unhealthy && !table.Find(key)) return;  // it has never failed
  // Failures that are further apart than that are no reason for a break.
  constexpr nanoseconds kForgotten = std::chrono::hours(1);
  const nanoseconds keep = std::max<nanoseconds>(
      kForgotten, std::chrono::seconds(2 * static_cast<int64_t>(config_.max_breaker_sec)));
  // Without room in the table nothing is remembered: the breaker stays closed.
  static_cast<void>(table.Decide(key, Report{breaker_, !unhealthy, keep}, 1, LimitTime(request)));
}

}  // namespace sluice::plugins
