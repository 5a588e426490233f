// api-breaker: refuses requests for an API whose upstream has failed several times, for longer and
// longer. APISIX's fields and rules; upstreams have a better one, docs/resilience.md.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "balancer/api_breaker.h"
#include "gateway/base/keyed_hash.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/plugin.h"
#include "ratelimit/key_table.h"

namespace sluice::plugins {

class ApiBreaker final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "api-breaker",
      .priority = 1005,
      .summary = "Refuses requests for an API whose upstream fails.",
      .example = R"yaml(break_response_code: 502
break_response_body: '{"message":"come back later"}'
unhealthy: {http_statuses: [500, 503], failures: 3}
healthy: {http_statuses: [200], successes: 1})yaml",
      .on_failure = FailureMode::kOpen,
      .enforces = true};

  // What counts as one of both, and how often it has to be seen.
  struct Side {
    std::vector<int> http_statuses;
    uint32_t count = 3;
  };
  struct HeaderConfig {
    std::string key;
    std::string value;
  };
  struct Config {
    int break_response_code = 0;
    std::string break_response_body;
    std::vector<HeaderConfig> break_response_headers;
    int max_breaker_sec = 300;
    Side healthy{{200}, 3};
    Side unhealthy{{500}, 3};
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  ApiBreaker(Config config, const Hash128& name);

  Verdict OnAccess(RequestContext& request) const override;
  void OnLog(RequestContext& request, const AccessRecord& record) const override;

 private:
  struct Report;

  ratelimit::KeyHash KeyOf(RequestContext& request) const;

  const Config config_;
  const Hash128 name_;
  const balancer::ApiBreaker breaker_;
  std::vector<std::pair<std::string, TextTemplate>> headers_;
};

}  // namespace sluice::plugins
