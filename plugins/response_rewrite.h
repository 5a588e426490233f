// response-rewrite: changes status, header fields and body of responses. APISIX's fields. A body to
// be searched by `filters` is collected, up to max_resp_body_size; a larger one, or one that is
// encoded or a part, goes through as it is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"
#include "gateway/routing/regex.h"
#include "plugins/support/header_changes.h"
#include "plugins/support/substitution.h"

namespace sluice::plugins {

class ResponseRewrite final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "response-rewrite",
      .priority = 899,
      .summary = "Changes status, header fields and body of the response.",
      .example = R"yaml(headers:
  set: {X-Served-By: sluice}
  remove: [X-Powered-By]
filters:
  - {regex: "http://", replace: "https://", scope: global})yaml"};

  struct Filter {
    std::string regex;
    std::string replace;
    bool global = false;
    std::string options = "jo";
  };
  struct Config {
    std::optional<int> status_code;
    std::optional<std::string> body;
    bool body_base64 = false;
    std::optional<HeaderChanges> headers;
    std::vector<Filter> filters;
    uint64_t max_resp_body_size = 67108864;
    const conf::Node* vars = nullptr;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;
  void OnBodyFilter(RequestContext& request, BodyPiece& piece) const override;

 private:
  struct Rule {
    Regex pattern;
    Substitution replacement;
    bool all = false;
  };
  // Of one response.
  struct Collected {
    std::string body;
    bool sent = false;       // the new body, which has one piece
    bool too_large = false;  // goes through as it is
  };

  static std::optional<Rule> Compile(const Filter& filter, const conf::Place& place);

  std::optional<int> status_;
  std::optional<std::string> body_;
  HeaderChanges headers_;
  std::vector<Rule> rules_;
  uint64_t max_body_ = 0;
  std::unique_ptr<const Expression> vars_;
};

}  // namespace sluice::plugins
