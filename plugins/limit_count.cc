#include "plugins/limit_count.h"

#include <utility>

#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "gateway/plugin/shared_limits.h"
#include "plugins/support/header_fields.h"
#include "ratelimit/fixed_window.h"
#include "ratelimit/sliding_window.h"

namespace sluice::plugins {

SLUICE_PLUGIN(LimitCount);

namespace {

using ratelimit::FixedWindow;
using ratelimit::SlidingWindow;

constexpr size_t kMostRules = 32;
constexpr uint64_t kLongestWindow = 365 * 86'400;  // seconds; as both windows have it

uint64_t MostCount(LimitCount::Window window) {
  return window == LimitCount::Window::kFixed ? FixedWindow::kMostCount : SlidingWindow::kMostCount;
}

// Of a window that a request chooses without its length, which Apply adds.
Hash128 NameOf(const std::string& limit, const LimitAmount& window) {
  return SharedLimits::NameOf(window.text ? limit : limit + " " + std::to_string(window.number));
}

const conf::Fields<LimitCount::RuleConfig>& RuleFields() {
  using T = LimitCount::RuleConfig;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("count", &T::count, LimitAmountField{1, FixedWindow::kMostCount},
                                   "Requests in a window.")),
      conf::Required(conf::Declare("time_window", &T::time_window,
                                   LimitAmountField{1, kLongestWindow}, "The window, in seconds.")),
      conf::Required(conf::Declare("key", &T::key, conf::Text{1, 1024},
                                   "What is counted by, with $variables. Requests that have none "
                                   "of these are not counted by this rule.")),
      conf::Declare("header_prefix", &T::header_prefix,
                    conf::TextLike{"a part of a header name", IsFieldName, "^[A-Za-z0-9_-]+$"},
                    "PREFIX in X-PREFIX-RateLimit-Limit and so on; the rule's number from 1 "
                    "without it."),
  };
  return kFields;
}

}  // namespace

const conf::Fields<LimitCount::Config>& LimitCount::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("count", &T::count, LimitAmountField{1, FixedWindow::kMostCount},
                      "Requests in a window. With `time_window`, or else `rules`."),
        conf::Declare("time_window", &T::time_window, LimitAmountField{1, kLongestWindow},
                      "The window, in seconds."),
        conf::Declare("key", &T::key, conf::Text{1, 1024},
                      "What is counted by; the client's address when a request does not have it."),
        conf::Declare("key_type", &T::key_type, KeyTypes(true),
                      "`key` is the name of a variable, a text with $variables, or a constant: "
                      "one counter for all."),
        conf::Declare(
            "window_type", &T::window_type,
            conf::Choice<Window>{{{"fixed", Window::kFixed}, {"sliding", Window::kSliding}}},
            "A window begins with a key's first request; or any window, nearly, which "
            "has no edge at which twice as many pass."),
        conf::Declare("group", &T::group, conf::Text{1, 256},
                      "Limits of one group and window count together, wherever they stand."),
        conf::Declare("rules", &T::rules,
                      conf::ListOf<conf::Record<RuleConfig>>{{RuleFields()}, 1, false, kMostRules},
                      "Several limits, all of which have to allow a request."),
        conf::Declare("show_limit_quota_header", &T::show_limit_quota_header, conf::Boolean{},
                      "Replies say what the limit is and how much of it is left."),
        conf::Declare("policy", &T::policy, LimitPolicies(),
                      "Who counts together: `local`, all workers of this host."),
        conf::NotBuilt<T>("sync_interval"),
        conf::NotBuilt<T>("redis_sentinels"),
        conf::NotBuilt<T>("redis_master_name"),
        conf::NotBuilt<T>("redis_role"),
        conf::NotBuilt<T>("redis_connect_timeout"),
        conf::NotBuilt<T>("redis_read_timeout"),
        conf::NotBuilt<T>("sentinel_username"),
        conf::NotBuilt<T>("sentinel_password"),
    };
    AddLimitFields(fields);
    AddRedisFields(fields);
    return fields;
  }();
  return kFields;
}

const conf::Fields<LimitCount::Metadata>& LimitCount::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = {
      conf::Declare("limit_header", &T::limit_header, FieldName(), "Field with the limit."),
      conf::Declare("remaining_header", &T::remaining_header, FieldName(),
                    "Field with what is left of it."),
      conf::Declare("reset_header", &T::reset_header, FieldName(),
                    "Field with the seconds until all of it is free again."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> LimitCount::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<LimitCount>();
  plugin->config_ = std::move(config);
  if (!plugin->Compile(build)) return nullptr;
  return plugin;
}

bool LimitCount::Compile(const PluginBuild& build) {
  const bool single = config_.count && config_.time_window;
  if (single == !config_.rules.empty() || config_.count.has_value() != single ||
      config_.time_window.has_value() != single) {
    build.place.Fail("expected \"count\" and \"time_window\", or else \"rules\"");
    return false;
  }
  // A word of one window means nothing to another, of that kind or of that length: both are part of
  // the limit's name. Otherwise limits of one group that differ could make each other forget.
  const std::string window = config_.window_type == Window::kFixed ? " fixed" : " sliding";
  const std::string scope =
      (config_.group.empty() ? std::string(build.owner) : "group/" + config_.group) +
      " limit-count" + window;
  if (!single) return CompileRules(build, scope);
  rules_.push_back({.count = *config_.count,
                    .time_window = *config_.time_window,
                    .key = LimitKey::Make(config_.key, config_.key_type, build.place, "key"),
                    .name = NameOf(scope, *config_.time_window),
                    .headers = ReadMetadata<LimitCount>(build)});
  if (config_.count->text || config_.count->number <= MostCount(config_.window_type)) return true;
  build.place.Fail("expected a \"count\" of at most " +
                   std::to_string(MostCount(config_.window_type)) + " in a sliding window");
  return false;
}

bool LimitCount::CompileRules(const PluginBuild& build, const std::string& scope) {
  for (size_t i = 0; i < config_.rules.size(); ++i) {
    const RuleConfig& rule = config_.rules[i];
    const std::string number = std::to_string(i + 1);
    if (!rule.count.text && rule.count.number > MostCount(config_.window_type)) {
      build.place.Fail("expected a \"count\" of at most " +
                       std::to_string(MostCount(config_.window_type)) +
                       " in a sliding window, in rule " + number);
      return false;
    }
    const std::string start =
        "X-" + (rule.header_prefix.empty() ? number : rule.header_prefix) + "-RateLimit-";
    rules_.push_back(
        {.count = rule.count,
         .time_window = rule.time_window,
         .key = LimitKey::Make(rule.key, LimitKey::Type::kCombination, build.place, "rules"),
         .needs_key = true,
         .name = NameOf(scope + " rule " + number, rule.time_window),
         .headers = {start + "Limit", start + "Remaining", start + "Reset"}});
  }
  return true;
}

Verdict LimitCount::OnAccess(RequestContext& request) const {
  for (const Rule& rule : rules_) {
    const Verdict verdict = Apply(request, rule);
    if (verdict != Verdict::kContinue) return verdict;
  }
  return Verdict::kContinue;
}

Verdict LimitCount::Apply(RequestContext& request, const Rule& rule) const {
  const std::string_view key = rule.needs_key ? rule.key.Find(request) : rule.key.Of(request);
  if (key.data() == nullptr) return Verdict::kContinue;
  const auto count = rule.count.Of(request, 1, MostCount(config_.window_type));
  if (!count.has_value()) return config_.Fail(request, "count: " + count.error().detail);
  const auto time_window = rule.time_window.Of(request, 1, kLongestWindow);
  if (!time_window.has_value()) {
    return config_.Fail(request, "time_window: " + time_window.error().detail);
  }
  const seconds window(static_cast<int64_t>(*time_window));
  SharedLimits& limits = request.services().limits();
  const Hash128 name =
      rule.time_window.text ? limits.Within(rule.name, std::to_string(*time_window)) : rule.name;
  const ratelimit::KeyHash hash = limits.KeyOf(name, key);
  const auto decision =
      config_.window_type == Window::kFixed
          ? limits.table().Decide(hash, FixedWindow(*count, window), 1, LimitTime(request))
          : limits.table().Decide(hash, SlidingWindow(*count, window), 1, LimitTime(request));
  if (!decision) return config_.FailFull(request);
  if (config_.show_limit_quota_header) {
    request.SetResponseHeader(rule.headers.limit_header, Decimal(*count).text());
    request.SetResponseHeader(rule.headers.remaining_header, Decimal(decision->remaining).text());
    request.SetResponseHeader(rule.headers.reset_header,
                              Decimal(ratelimit::WholeSeconds(decision->reset)).text());
  }
  return decision->allowed ? Verdict::kContinue : config_.Reject(request);
}

}  // namespace sluice::plugins
