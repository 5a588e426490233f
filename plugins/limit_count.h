// limit-count: so many requests of a key in a window of time. APISIX's fields and headers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/base/keyed_hash.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/limit_amount.h"
#include "plugins/support/limit_fields.h"
#include "plugins/support/limit_key.h"

namespace sluice::plugins {

class LimitCount final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "limit-count",
      .priority = 1002,
      .summary = "Limits how many requests of a key pass in a window of time.",
      .example = R"yaml(count: 100
time_window: 60
key: http_x_api_key
rejected_code: 429
rejected_msg: "too many requests")yaml",
      .enforces = true};

  enum class Window : uint8_t { kFixed, kSliding };

  // One of `rules`.
  struct RuleConfig {
    LimitAmount count;
    LimitAmount time_window;
    std::string key;
    std::string header_prefix;
  };
  struct Config : LimitFields {
    std::optional<LimitAmount> count;
    std::optional<LimitAmount> time_window;
    std::string key = "remote_addr";
    LimitKey::Type key_type = LimitKey::Type::kVariable;
    Window window_type = Window::kFixed;
    std::string group;
    std::vector<RuleConfig> rules;
    bool show_limit_quota_header = true;
    LimitPolicy policy = LimitPolicy::kLocal;
  };
  static const conf::Fields<Config>& Fields();
  struct Metadata {
    std::string limit_header = "X-RateLimit-Limit";
    std::string remaining_header = "X-RateLimit-Remaining";
    std::string reset_header = "X-RateLimit-Reset";
  };
  static const conf::Fields<Metadata>& MetadataFields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  struct Rule {
    LimitAmount count;
    LimitAmount time_window;
    LimitKey key;
    bool needs_key = false;  // without one it does not concern the request
    Hash128 name;
    Metadata headers;
  };

  bool Compile(const PluginBuild& build);
  bool CompileRules(const PluginBuild& build, const std::string& scope);
  Verdict Apply(RequestContext& request, const Rule& rule) const;

  Config config_;
  std::vector<Rule> rules_;
};

}  // namespace sluice::plugins
