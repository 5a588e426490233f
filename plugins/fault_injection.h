// fault-injection: answers a share of the requests itself, or holds it for a while, to see how
// those who call cope. APISIX's fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/text_template.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"

namespace sluice::plugins {

class FaultInjection final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "fault-injection",
      .priority = 11000,
      .summary = "Answers a share of the requests with an error, or delays it.",
      .example = R"yaml(abort: {http_status: 503, body: "down for maintenance", percentage: 10}
delay: {duration: 0.5, vars: [[["arg_slow", "==", "yes"]]]})yaml",
      .on_failure = FailureMode::kOpen,
      .enforces = true};

  // Whom a fault concerns.
  struct Target {
    std::optional<int> percentage;  // none: all
    std::vector<const conf::Node*> vars;
  };
  struct Abort : Target {
    int http_status = 0;
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;
  };
  struct Delay : Target {
    Duration duration{};
  };
  struct Config {
    std::optional<Abort> abort;
    std::optional<Delay> delay;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  Verdict OnRewrite(RequestContext& request) const override;

 private:
  // A target, compiled: one of `vars` has to match.
  struct Aim {
    std::optional<int> percentage;
    std::vector<std::unique_ptr<const Expression>> any_of;

    bool Hits(RequestContext& request) const;
  };
  struct Reply {
    Aim aim;
    int status = 0;
    TextTemplate body;
    std::vector<std::pair<std::string, TextTemplate>> headers;
  };

  static Aim Compile(const Target& target, const conf::Place& place);
  Verdict ReplyTo(RequestContext& request) const;

  std::optional<Reply> abort_;
  std::optional<Aim> delay_;
  Duration duration_{};
};

}  // namespace sluice::plugins
