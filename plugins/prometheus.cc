#include "plugins/prometheus.h"

#include <array>
#include <string_view>

#include "gateway/plugin/registration.h"

namespace sluice::plugins {
namespace {

// The labels of an APISIX family that can be turned off. Those that are always empty here can be
// named too: they stay empty.
conf::ListOf<conf::Choice<std::string>> Labels(bool matched) {
  std::vector<std::pair<std::string_view, std::string>> values;
  for (const std::string_view name :
       {"route", "service", "consumer", "node", "request_type", "request_llm_model", "llm_model"}) {
    values.emplace_back(name, name);
  }
  if (matched) {
    for (const std::string_view name : {"matched_uri", "matched_host", "response_source"}) {
      values.emplace_back(name, name);
    }
  }
  return {.item = {.values = std::move(values)}, .min = 0, .unique = true, .max = 16};
}

const conf::Fields<Prometheus::Disabled>& DisabledFields() {
  using T = Prometheus::Disabled;
  static const conf::Fields<T> kFields = [] {
    conf::Fields<T> fields = {
        conf::Declare("http_status", &T::http_status, Labels(true), "Of apisix_http_status."),
        conf::Declare("http_latency", &T::http_latency, Labels(false), "Of apisix_http_latency."),
        conf::Declare("bandwidth", &T::bandwidth, Labels(false), "Of apisix_bandwidth."),
    };
    for (const std::string_view name :
         {"ai_cache_bypasses_total", "ai_cache_embedding_latency", "ai_cache_hits_total",
          "ai_cache_misses_total", "llm_active_connections", "llm_completion_tokens",
          "llm_completion_tokens_dist", "llm_latency", "llm_prompt_tokens",
          "llm_prompt_tokens_dist"}) {
      fields.push_back(conf::NotBuilt<T>(name));
    }
    return fields;
  }();
  return kFields;
}

void Disable(CompatFamily family, const std::vector<std::string>& labels, DisabledLabels& to) {
  constexpr std::array<std::pair<std::string_view, CompatLabel>, 4> kLabels = {
      {{"route", CompatLabel::kRoute},
       {"service", CompatLabel::kService},
       {"matched_uri", CompatLabel::kMatchedUri},
       {"matched_host", CompatLabel::kMatchedHost}}};
  for (const std::string& label : labels) {
    for (const auto& [name, known] : kLabels) {
      if (name == label) to.Add(family, known);
    }
  }
}

}  // namespace

SLUICE_PLUGIN(Prometheus);

const conf::Fields<Prometheus::Config>& Prometheus::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("prefer_name", &T::prefer_name, conf::Boolean{},
                    "The labels route and service are names instead of ids, where there are some."),
  };
  return kFields;
}

const conf::Fields<Prometheus::Metadata>& Prometheus::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = {
      conf::Declare("disabled_labels", &T::disabled_labels,
                    conf::Record<Disabled>{DisabledFields()},
                    "Labels that are left empty in the series with APISIX's names."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> Prometheus::Make(const Config& config, const PluginBuild& build) {
  if (build.owner.starts_with("consumer")) {
    build.place.Fail(
        "expected on a route, a service, a plugin config or a global rule: series are of routes");
    return nullptr;
  }
  const auto metadata = ReadMetadata<Prometheus>(build);
  RouteSeries series;
  series.prefer_name = config.prefer_name;
  const Disabled& disabled = metadata.disabled_labels;
  Disable(CompatFamily::kStatus, disabled.http_status, series.disabled);
  Disable(CompatFamily::kLatency, disabled.http_latency, series.disabled);
  Disable(CompatFamily::kBandwidth, disabled.bandwidth, series.disabled);
  return std::make_unique<const Prometheus>(series);
}

}  // namespace sluice::plugins
