#include "plugins/traffic_split.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "gateway/plugin/registration.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(TrafficSplit);

namespace {

constexpr size_t kMostRules = 100;
constexpr size_t kMostMatches = 100;
constexpr uint32_t kLargestWeight = 1'000'000;

const conf::Fields<TrafficSplit::MatchConfig>& MatchFields() {
  using T = TrafficSplit::MatchConfig;
  static const conf::Fields<T> kFields = {
      conf::Declare("vars", &T::vars, conf::AnyValue{}, "An expression over the request."),
  };
  return kFields;
}

const conf::Fields<TrafficSplit::ArmConfig>& ArmFields() {
  using T = TrafficSplit::ArmConfig;
  static const conf::Fields<T> kFields = {
      conf::Declare("upstream", &T::upstream, conf::AnyValue{},
                    "An upstream, as routes have it; without it and `upstream_id` the route's."),
      conf::Declare("upstream_id", &T::upstream_id, conf::AnyValue{}, "The id of an upstream."),
      conf::Declare("weight", &T::weight, conf::Integer<uint32_t>{0, kLargestWeight},
                    "Its share is this over the sum."),
  };
  return kFields;
}

const conf::Fields<TrafficSplit::RuleConfig>& RuleFields() {
  using T = TrafficSplit::RuleConfig;
  static const conf::Fields<T> kFields = {
      conf::Declare("match", &T::match,
                    conf::ListOf<conf::Record<TrafficSplit::MatchConfig>>{
                        {MatchFields()}, 0, false, kMostMatches},
                    "Requests that the rule is for: one of these has to match; none: all."),
      conf::Declare("weighted_upstreams", &T::weighted_upstreams,
                    conf::ListOf<conf::Record<TrafficSplit::ArmConfig>>{
                        {ArmFields()}, 1, false, balancer::Split::kMaxArms},
                    "Where they go. An upstream is known by its place in the list: set its weight "
                    "to 0 rather than take it out."),
      conf::Declare("key", &T::key, conf::Text{1, 1024},
                    "A text with $variables (`$cookie_user`): requests with the same one go to the "
                    "same upstream. Those that have none of its variables go anywhere."),
  };
  return kFields;
}

// The member of that name of the map at `place`; calls `read` with its place if it is there.
template <typename Read>
void WithMember(const conf::Place& place, std::string_view name, Read read) {
  const conf::Node* const node = place.node.is_map() ? place.node.Find(name) : nullptr;
  if (node != nullptr) read(conf::Place{*node, place.diagnostics, &place, name});
}

template <typename Read>
void ForEachItem(const conf::Place& list, Read read) {
  if (!list.node.is_list()) return;
  for (size_t i = 0; i < list.node.items.size(); ++i) read(list.Of(i));
}

}  // namespace

const conf::Fields<TrafficSplit::Config>& TrafficSplit::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare(
          "rules", &T::rules,
          conf::ListOf<conf::Record<RuleConfig>>{{RuleFields()}, 1, false, kMostRules},
          "The first that matches decides; without one the route's upstream is used.")),
  };
  return kFields;
}

void TrafficSplit::FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink) {
  WithMember(plugin, "rules", [&sink](const conf::Place& rules) {
    ForEachItem(rules, [&sink](const conf::Place& rule) {
      WithMember(rule, "weighted_upstreams", [&sink](const conf::Place& arms) {
        ForEachItem(arms, [&sink](const conf::Place& arm) {
          WithMember(arm, "upstream", [&](const conf::Place& place) { sink.AddInline(place); });
          WithMember(arm, "upstream_id",
                     [&](const conf::Place& place) { sink.AddReference(place); });
        });
      });
    });
  });
}

std::optional<TrafficSplit::Rule> TrafficSplit::Compile(const RuleConfig& config,
                                                        const conf::Place& place,
                                                        const PluginBuild& build) {
  std::vector<std::unique_ptr<const Expression>> any_of;
  for (const MatchConfig& match : config.match) {
    if (match.vars == nullptr) continue;
    auto expression = CompileExpression(*match.vars, place, "match");
    if (expression == nullptr) return std::nullopt;
    any_of.push_back(std::move(expression));
  }
  std::vector<uint32_t> weights;
  std::vector<int32_t> upstreams;
  for (const ArmConfig& arm : config.weighted_upstreams) {
    if (arm.upstream != nullptr && arm.upstream_id != nullptr) {
      place.Fail("expected \"upstream\" or \"upstream_id\" in weighted_upstreams, got both");
      return std::nullopt;
    }
    const conf::Node* const node = arm.upstream != nullptr ? arm.upstream : arm.upstream_id;
    weights.push_back(arm.weight);
    upstreams.push_back(node == nullptr ? -1 : build.UpstreamAt(*node));
  }
  const auto own = std::find(upstreams.begin(), upstreams.end(), -1);
  const auto default_arm = static_cast<size_t>(own - upstreams.begin()) - (own == upstreams.end());
  const std::string name =
      std::string(build.owner) + " traffic-split " + std::to_string(place.index);
  auto split = balancer::Split::Build(weights, default_arm, name);
  if (const auto* const why = std::get_if<std::string>(&split)) {
    place.Fail("weighted_upstreams: " + *why);
    return std::nullopt;
  }
  std::optional<LimitKey> key;
  if (!config.key.empty()) {
    key = LimitKey::Make(config.key, LimitKey::Type::kCombination, place, "key");
  }
  return Rule{std::move(any_of), std::move(key), std::get<balancer::Split>(std::move(split)),
              std::move(upstreams)};
}

std::unique_ptr<const Plugin> TrafficSplit::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<TrafficSplit>();
  const conf::Place list{*build.place.node.Find("rules"), build.place.diagnostics, &build.place,
                         "rules"};
  for (size_t i = 0; i < config.rules.size(); ++i) {
    auto rule = Compile(config.rules[i], list.Of(i), build);
    if (!rule) return nullptr;
    plugin->rules_.push_back(*std::move(rule));
  }
  return plugin;
}

Verdict TrafficSplit::OnAccess(RequestContext& request) const {
  const auto matches = [&request](const Rule& rule) {
    return rule.any_of.empty() ||
           std::any_of(rule.any_of.begin(), rule.any_of.end(),
                       [&](const auto& expression) { return expression->Matches(request.view()); });
  };
  const auto rule = std::find_if(rules_.begin(), rules_.end(), matches);
  if (rule == rules_.end()) return Verdict::kContinue;
  auto arm = rule->split.Of(rule->key ? rule->key->Find(request) : std::string_view());
  if (!arm) {
    const uint64_t number = request.services().Random();
    arm = rule->split.Of({reinterpret_cast<const char*>(&number), sizeof(number)});
  }
  if (const int32_t upstream = rule->upstreams[*arm]; upstream >= 0) request.SetUpstream(upstream);
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
