// uri-blocker: refuses requests whose URI matches a pattern. APISIX's fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "plugins/support/pattern_list.h"

namespace sluice::plugins {

class UriBlocker final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "uri-blocker",
      .priority = 2900,
      .summary = "Refuses requests whose path or query matches a regular expression.",
      .example = R"yaml(block_rules: ["root.exe", "root.m+", "^/internal/"]
rejected_msg: not here)yaml",
      .enforces = true};

  struct Config {
    std::vector<std::string> block_rules;
    int rejected_code = 403;
    std::optional<std::string> rejected_msg;
    bool case_insensitive = false;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  bool Blocks(RequestContext& request) const;

  PatternList rules_;
  int status_ = 0;
  std::optional<std::string> message_;
};

}  // namespace sluice::plugins
