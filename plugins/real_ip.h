// real-ip: takes the client's address from what a proxy in front says. APISIX's fields.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/cidr_set.h"
#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class RealIp final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "real-ip",
      .priority = 23000,
      .summary = "Takes the client's address from a field or argument of the request.",
      .example = R"yaml(source: http_x_forwarded_for
trusted_addresses: [10.0.0.0/8]
recursive: true)yaml",
      .on_failure = FailureMode::kOpen};

  struct Config {
    std::string source;
    std::vector<Cidr> trusted_addresses;
    bool recursive = false;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(const Config& config, const PluginBuild& build);

  RealIp(Variable source, const std::vector<Cidr>& trusted, bool recursive)
      : source_(std::move(source)), trusted_(trusted), recursive_(recursive) {}

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  const Variable source_;
  const CidrSet trusted_;  // empty: everybody is
  const bool recursive_;
};

}  // namespace sluice::plugins
