#include "plugins/fault_injection.h"

#include <algorithm>

#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(FaultInjection);

namespace {

constexpr size_t kMaximumVars = 20;
constexpr double kLongestDelay = 3600;

template <typename T>
conf::Fields<T> TargetFields() {
  return {
      conf::Declare<T>("percentage", static_cast<std::optional<int> T::*>(&T::percentage),
                       conf::Integer<int>{0, 100}, "Of the requests; none: all."),
      conf::Declare<T>("vars", static_cast<std::vector<const conf::Node*> T::*>(&T::vars),
                       conf::ListOf<conf::AnyValue>{{}, 0, false, kMaximumVars},
                       "Expressions over the request, of which one has to match; none: all."),
  };
}

const conf::Fields<FaultInjection::Abort>& AbortFields() {
  using T = FaultInjection::Abort;
  static const conf::Fields<T> kFields = [] {
    auto fields = TargetFields<T>();
    fields.push_back(conf::Required(conf::Declare(
        "http_status", &T::http_status, conf::Integer<int>{200, 599}, "Status of the reply.")));
    fields.push_back(conf::Declare("body", &T::body,
                                   conf::Text{.min = 0, .max = 1024 * 1024, .lines = true},
                                   "Body of the reply; may have $variables."));
    fields.push_back(conf::Declare("headers", &T::headers, HeaderFields(),
                                   "Fields of the reply; values may have $variables."));
    return fields;
  }();
  return kFields;
}

const conf::Fields<FaultInjection::Delay>& DelayFields() {
  using T = FaultInjection::Delay;
  static const conf::Fields<T> kFields = [] {
    auto fields = TargetFields<T>();
    fields.push_back(conf::Required(conf::Declare(
        "duration", &T::duration, conf::Seconds{.positive = false, .max = kLongestDelay},
        "How long the request waits.")));
    return fields;
  }();
  return kFields;
}

}  // namespace

const conf::Fields<FaultInjection::Config>& FaultInjection::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("abort", &T::abort, conf::Record<Abort>{AbortFields()},
                    "Answers in place of the upstream."),
      conf::Declare("delay", &T::delay, conf::Record<Delay>{DelayFields()},
                    "Holds the request for a while; comes before `abort`."),
  };
  return kFields;
}

FaultInjection::Aim FaultInjection::Compile(const Target& target, const conf::Place& place) {
  Aim aim{.percentage = target.percentage, .any_of = {}};
  for (const conf::Node* const vars : target.vars) {
    auto expression = CompileExpression(*vars, place, "vars");
    if (expression != nullptr) aim.any_of.push_back(std::move(expression));
  }
  return aim;
}

std::unique_ptr<const Plugin> FaultInjection::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<FaultInjection>();
  if (!config.abort && !config.delay) {
    build.place.Fail("expected \"abort\" or \"delay\"; both are missing");
    return nullptr;
  }
  if (config.abort) {
    const conf::Place place{*build.place.node.Find("abort"), build.place.diagnostics, &build.place,
                            "abort"};
    Reply& reply = plugin->abort_.emplace(Reply());
    reply.aim = Compile(*config.abort, place);
    reply.status = config.abort->http_status;
    reply.body = CompileTemplate(config.abort->body, place, "body");
    for (const auto& [name, value] : config.abort->headers) {
      reply.headers.emplace_back(name, CompileTemplate(value, place, "headers"));
    }
  }
  if (config.delay) {
    const conf::Place place{*build.place.node.Find("delay"), build.place.diagnostics, &build.place,
                            "delay"};
    plugin->delay_ = Compile(*config.delay, place);
    plugin->duration_ = config.delay->duration;
  }
  return plugin;
}

bool FaultInjection::Aim::Hits(RequestContext& request) const {
  if (percentage && static_cast<int>(request.services().Random() % 100) >= *percentage) {
    return false;
  }
  return any_of.empty() || std::any_of(any_of.begin(), any_of.end(), [&](const auto& expression) {
           return expression->Matches(request.view());
         });
}

Verdict FaultInjection::ReplyTo(RequestContext& request) const {
  for (const auto& [name, value] : abort_->headers) {
    request.SetResponseHeader(name, request.Expand(value));
  }
  return request.Reply(abort_->status, request.Expand(abort_->body), "text/plain; charset=utf-8");
}

Verdict FaultInjection::OnRewrite(RequestContext& request) const {
  const bool delays = delay_ && duration_ > Duration::zero() && delay_->Hits(request);
  const Verdict verdict =
      abort_ && abort_->aim.Hits(request) ? ReplyTo(request) : Verdict::kContinue;
  return delays ? request.Delay(duration_, verdict) : verdict;
}

}  // namespace sluice::plugins
