// redirect: sends clients elsewhere. APISIX's fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/text_template.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/regex.h"
#include "plugins/support/substitution.h"

namespace sluice::plugins {

class Redirect final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{.name = "redirect",
                                        .priority = 900,
                                        .summary = "Sends clients to another URI.",
                                        .example = R"yaml(regex_uri: ["^/old/(.*)", "/new/$1"]
ret_code: 301
append_query_string: true)yaml"};

  struct Config {
    bool http_to_https = false;
    std::optional<std::string> uri;
    std::vector<std::string> regex_uri;
    int ret_code = 302;
    bool encode_uri = false;
    bool append_query_string = false;
  };
  static const conf::Fields<Config>& Fields();
  struct Metadata {
    int https_port = 443;
  };
  static const conf::Fields<Metadata>& MetadataFields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  struct Rule {
    Regex pattern;
    Substitution replacement;
  };

  bool CompileRule(const std::vector<std::string>& pair, const conf::Place& place);
  Verdict ToHttps(RequestContext& request) const;
  Verdict To(std::string uri, RequestContext& request) const;

  bool to_https_ = false;
  std::string https_port_;  // ":8443"; empty: the usual one
  std::optional<TextTemplate> uri_;
  std::optional<Rule> rule_;
  bool names_host_ = false;  // "//host/..."
  int status_ = 0;
  bool encodes_ = false;
  bool appends_query_ = false;
};

}  // namespace sluice::plugins
