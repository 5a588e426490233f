// proxy-rewrite: changes what the upstream is asked: path, host, method, header fields. APISIX's
// fields, but for use_real_request_uri_unsafe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "gateway/routing/regex.h"
#include "plugins/support/header_changes.h"
#include "plugins/support/substitution.h"

namespace sluice::plugins {

class ProxyRewrite final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "proxy-rewrite",
      .priority = 1008,
      .summary = "Changes path, host, method and header fields of what the upstream is asked.",
      .example = R"yaml(regex_uri: ["^/api/(.*)", "/v2/$1"]
headers:
  set: {X-Client: $remote_addr}
  remove: [X-Debug])yaml"};

  struct Config {
    std::optional<std::string> uri;
    std::vector<std::string> regex_uri;
    std::optional<std::string> method;
    std::optional<std::string> host;
    std::optional<HeaderChanges> headers;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  struct UriRule {
    Regex pattern;
    Substitution replacement;
  };

  Status RewriteUri(RequestContext& request, Regex::Groups& groups) const;

  std::optional<TextTemplate> uri_;
  std::vector<UriRule> uri_rules_;  // the first that matches applies
  std::string method_;              // empty: the client's
  std::string host_;
  HeaderChanges headers_;
};

}  // namespace sluice::plugins
