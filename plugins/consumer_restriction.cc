#include "plugins/consumer_restriction.h"

#include <algorithm>
#include <utility>

#include "gateway/plugin/registration.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ConsumerRestriction);

namespace {

using Subject = ConsumerRestriction::Subject;
using MethodRule = ConsumerRestriction::MethodRule;

const conf::Choice<Subject>& SubjectNames() {
  static const conf::Choice<Subject> kNames{{{"consumer_name", Subject::kConsumer},
                                             {"consumer_group_id", Subject::kConsumerGroup},
                                             {"service_id", Subject::kService},
                                             {"route_id", Subject::kRoute}}};
  return kNames;
}

std::string_view NameOf(Subject subject) {
  return SubjectNames().values[static_cast<size_t>(subject)].first;
}

const conf::Fields<MethodRule>& MethodRuleFields() {
  using T = MethodRule;
  static const conf::Choice<std::string> kMethod = [] {
    conf::Choice<std::string> choice;
    for (const std::string_view method : {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD",
                                          "OPTIONS", "CONNECT", "TRACE", "PURGE"}) {
      choice.values.emplace_back(method, method);
    }
    return choice;
  }();
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("user", &T::user, conf::Text{1, 256}, "Whom this is about.")),
      conf::Required(conf::Declare("methods", &T::methods,
                                   conf::ListOf<conf::Choice<std::string>>{kMethod, 1, false, 10},
                                   "The methods that are left to them.")),
  };
  return kFields;
}

std::vector<std::string> Sorted(std::vector<std::string> list) {
  std::sort(list.begin(), list.end());
  return list;
}

bool Contains(const std::vector<std::string>& sorted, std::string_view text) {
  return std::binary_search(sorted.begin(), sorted.end(), text, std::less<>());
}

}  // namespace

const conf::Fields<ConsumerRestriction::Config>& ConsumerRestriction::Fields() {
  using T = Config;
  constexpr size_t kMost = 100'000;
  const conf::ListOf<conf::Text> names{{1, 256}, 1, false, kMost};
  static const conf::Fields<T> kFields = {
      conf::Declare("type", &T::type, SubjectNames(), "What the lists name."),
      conf::Declare("whitelist", &T::whitelist, names, "Who may pass; nobody else."),
      conf::Declare("blacklist", &T::blacklist, names, "Who may not; comes before the others."),
      conf::Declare("allowed_by_methods", &T::allowed_by_methods,
                    conf::ListOf<conf::Record<MethodRule>>{{MethodRuleFields()}, 0, false, kMost},
                    "Who may use some methods only. Those it does not name, and those of "
                    "`whitelist`, may use all."),
      conf::Declare("rejected_code", &T::rejected_code, conf::Integer<int>{200, 599},
                    "Status of the reply to those who may not."),
      conf::Declare("rejected_msg", &T::rejected_msg, conf::Text{.min = 1, .max = 64 * 1024},
                    "Message of that reply; none: \"The consumer_name is forbidden.\""),
  };
  return kFields;
}

ConsumerRestriction::ConsumerRestriction(Config config) : config_(std::move(config)) {}

std::unique_ptr<const Plugin> ConsumerRestriction::Make(Config config, const PluginBuild& build) {
  if (config.whitelist.empty() && config.blacklist.empty() && config.allowed_by_methods.empty()) {
    build.place.Fail(
        "expected \"whitelist\", \"blacklist\" or \"allowed_by_methods\"; all are missing or "
        "empty");
    return nullptr;
  }
  config.whitelist = Sorted(std::move(config.whitelist));
  config.blacklist = Sorted(std::move(config.blacklist));
  // The first of a user counts, as in APISIX.
  std::stable_sort(config.allowed_by_methods.begin(), config.allowed_by_methods.end(),
                   [](const MethodRule& a, const MethodRule& b) { return a.user < b.user; });
  if (config.rejected_msg.empty()) {
    config.rejected_msg = "The " + std::string(NameOf(config.type)) + " is forbidden.";
  }
  return std::make_unique<ConsumerRestriction>(std::move(config));
}

std::string_view ConsumerRestriction::SubjectOf(const RequestContext& request) const {
  switch (config_.type) {
    case Subject::kConsumer:
      return request.view().consumer_name;
    case Subject::kConsumerGroup:
      return request.view().consumer_group_id;
    case Subject::kService:
      return request.view().service_id;
    case Subject::kRoute:
      break;
  }
  return request.view().route_id;
}

bool ConsumerRestriction::MayUse(std::string_view subject, std::string_view method) const {
  const auto& rules = config_.allowed_by_methods;
  const auto rule =
      std::lower_bound(rules.begin(), rules.end(), subject,
                       [](const MethodRule& a, std::string_view user) { return a.user < user; });
  if (rule == rules.end() || rule->user != subject) return true;
  return std::find(rule->methods.begin(), rule->methods.end(), method) != rule->methods.end();
}

Verdict ConsumerRestriction::OnAccess(RequestContext& request) const {
  const std::string_view subject = SubjectOf(request);
  if (subject.empty()) {
    return request.ReplyMessage(401, "The request is rejected, please check the " +
                                         std::string(NameOf(config_.type)) + " for this request");
  }
  const bool listed = Contains(config_.whitelist, subject);
  const bool passes = !Contains(config_.blacklist, subject) &&
                      (config_.whitelist.empty() || listed) &&
                      (listed || MayUse(subject, request.head().method_text));
  return passes ? Verdict::kContinue
                : request.ReplyMessage(config_.rejected_code, config_.rejected_msg);
}

}  // namespace sluice::plugins
