// echo: puts text around the response's body, or in its place, and sets headers; for tests of
// gateways. APISIX's fields.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class Echo final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "echo",
      .priority = 412,
      .summary = "Puts text around the body of the response, or in its place.",
      .example = R"yaml(before_body: "<p>"
after_body: "</p>")yaml"};

  struct Config {
    std::optional<std::string> before_body;
    std::optional<std::string> body;
    std::optional<std::string> after_body;
    std::vector<std::pair<std::string, std::string>> headers;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  explicit Echo(Config config) : config_(std::move(config)) {}

  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;
  void OnBodyFilter(RequestContext& request, BodyPiece& piece) const override;

 private:
  struct Progress {
    bool begun = false;
  };

  const Config config_;
};

}  // namespace sluice::plugins
