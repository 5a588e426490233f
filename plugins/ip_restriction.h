// ip-restriction: lets clients pass, or refuses them, by their address. APISIX's fields.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/cidr_set.h"
#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class IpRestriction final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "ip-restriction",
      .priority = 3000,
      .summary = "Lets clients pass by their address, or refuses them.",
      .example = R"yaml(whitelist: [10.0.0.0/8, 2001:db8::/32]
message: only from inside)yaml",
      .enforces = true};

  struct Config {
    std::vector<Cidr> whitelist;
    std::vector<Cidr> blacklist;
    std::string message = "Your IP address is not allowed";
    int response_code = 403;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnAccess(RequestContext& request) const override;

 private:
  CidrSet ranges_;
  bool ranges_pass_ = false;  // whitelist
  std::string message_;
  int status_ = 0;
};

}  // namespace sluice::plugins
