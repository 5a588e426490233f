// limit-conn: so many requests of a key at one time; a burst above that is held back for a while,
// and more are refused. APISIX's fields.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gateway/base/keyed_hash.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/limit_amount.h"
#include "plugins/support/limit_fields.h"
#include "plugins/support/limit_key.h"
#include "ratelimit/concurrency_limit.h"

namespace sluice::plugins {

class LimitConn final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "limit-conn",
      .priority = 1003,
      .summary = "Limits how many requests of a key are under way at one time.",
      .example = R"yaml(conn: 10
burst: 5
default_conn_delay: 0.1
key: remote_addr
rejected_code: 429)yaml",
      .enforces = true};

  // One of `rules`, and what stands without rules.
  struct RuleConfig {
    LimitAmount conn;
    LimitAmount burst;
    std::string key;
  };
  struct Config : LimitFields {
    std::optional<LimitAmount> conn;
    std::optional<LimitAmount> burst;
    Duration default_conn_delay{};
    bool only_use_default_delay = false;
    std::string key;
    LimitKey::Type key_type = LimitKey::Type::kVariable;
    std::vector<RuleConfig> rules;
    LimitPolicy policy = LimitPolicy::kLocal;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  struct Rule {
    LimitAmount conn;
    LimitAmount burst;
    LimitKey key;
    bool needs_key = false;  // without one it does not concern the request
    Hash128 name;
  };
  class Held;

  // Enters the request; `delay` grows to what this rule asks for.
  Verdict Apply(RequestContext& request, const Rule& rule, Duration& delay) const;

  Config config_;
  std::vector<Rule> rules_;
};

}  // namespace sluice::plugins
