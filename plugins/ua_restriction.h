// ua-restriction: lets clients pass, or refuses them, by their User-Agent. APISIX's fields.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "plugins/support/pattern_list.h"

namespace sluice::plugins {

class UaRestriction final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "ua-restriction",
      .priority = 2999,
      .summary = "Lets clients pass by their User-Agent, or refuses them.",
      .example = R"yaml(denylist: ["(?i)bot", "^curl/7"]
bypass_missing: true)yaml",
      .enforces = true};

  struct Config {
    bool bypass_missing = false;
    std::vector<std::string> allowlist;
    std::vector<std::string> denylist;
    std::string message = "Not allowed";
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  bool MayPass(const HeaderList& fields) const;

  PatternList patterns_;
  bool patterns_pass_ = false;  // allowlist
  bool missing_passes_ = false;
  std::string message_;
};

}  // namespace sluice::plugins
