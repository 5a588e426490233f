// prometheus: the requests of the routes that it stands on are counted in series of their own.
// APISIX's fields. Nothing runs while requests do: the gateway counts anyway, and this says where.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class Prometheus final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "prometheus",
      .priority = 500,
      .summary = "Counts the requests of a route in series of their own in the metrics.",
      .example = R"yaml(prefer_name: true)yaml",
      .on_failure = FailureMode::kOpen};

  struct Config {
    bool prefer_name = false;
  };
  static const conf::Fields<Config>& Fields();

  struct Disabled {
    std::vector<std::string> http_status;
    std::vector<std::string> http_latency;
    std::vector<std::string> bandwidth;
  };
  struct Metadata {
    Disabled disabled_labels;
  };
  static const conf::Fields<Metadata>& MetadataFields();

  static std::unique_ptr<const Plugin> Make(const Config& config, const PluginBuild& build);

  explicit Prometheus(RouteSeries series) : series_(series) {}

  const RouteSeries* route_series() const override { return &series_; }

 private:
  const RouteSeries series_;
};

}  // namespace sluice::plugins
