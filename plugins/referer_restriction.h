// referer-restriction: lets requests pass, or refuses them, by the host of their Referer. APISIX's
// fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class RefererRestriction final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "referer-restriction",
      .priority = 2990,
      .summary = "Lets requests pass by the host of their Referer, or refuses them.",
      .example = R"yaml(whitelist: [example.com, "*.example.com"]
bypass_missing: true)yaml",
      .enforces = true};

  struct Config {
    bool bypass_missing = false;
    std::vector<std::string> whitelist;
    std::vector<std::string> blacklist;
    std::string message = "Your referer host is not allowed";
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  bool IsListed(std::string_view host) const;
  bool MayPass(RequestContext& request) const;

  std::vector<std::string> hosts_;     // lower case, sorted
  std::vector<std::string> suffixes_;  // of "*.example.com" what is behind the asterisk
  bool listed_pass_ = false;           // whitelist
  bool missing_passes_ = false;
  std::string message_;
};

}  // namespace sluice::plugins
