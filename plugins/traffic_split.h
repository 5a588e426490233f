// traffic-split: sends a share of the requests to other upstreams (canary, blue-green). APISIX's
// fields; `key` is ours: with it a user stays on his side, in all workers and over reloads, and
// raising a share moves only new users.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "balancer/split.h"
#include "conf/plugin_upstreams.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"
#include "plugins/support/limit_key.h"

namespace sluice::plugins {

class TrafficSplit final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "traffic-split",
      .priority = 966,
      .summary = "Sends shares of the requests to other upstreams.",
      .example = R"yaml(rules:
  - match: [{vars: [["http_x_beta", "==", "yes"]]}]
    weighted_upstreams:
      - {upstream: {nodes: {"127.0.0.1:1981": 1}}, weight: 1}
  - key: "$cookie_user"
    weighted_upstreams:
      - {upstream: {nodes: {"127.0.0.1:1981": 1}}, weight: 5}
      - {weight: 95})yaml"};

  struct MatchConfig {
    const conf::Node* vars = nullptr;
  };
  struct ArmConfig {
    const conf::Node* upstream = nullptr;
    const conf::Node* upstream_id = nullptr;
    uint32_t weight = 1;
  };
  struct RuleConfig {
    std::vector<MatchConfig> match;
    std::vector<ArmConfig> weighted_upstreams = {ArmConfig()};
    std::string key;
  };
  struct Config {
    std::vector<RuleConfig> rules;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);
  static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  struct Rule {
    std::vector<std::unique_ptr<const Expression>> any_of;  // none: all requests
    std::optional<LimitKey> key;                            // none: each request for itself
    balancer::Split split;
    std::vector<int32_t> upstreams;  // by arm; -1: the route's
  };

  static std::optional<Rule> Compile(const RuleConfig& config, const conf::Place& place,
                                     const PluginBuild& build);

  std::vector<Rule> rules_;
};

}  // namespace sluice::plugins
