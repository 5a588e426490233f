// proxy-mirror: sends a copy of requests to another service and forgets what it answers. APISIX's
// fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conf/plugin_upstreams.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/service_url.h"

namespace sluice::plugins {

class ProxyMirror final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "proxy-mirror",
      .priority = 1010,
      .summary = "Sends a copy of requests to another service and drops its answers.",
      .example = R"yaml(host: http://127.0.0.1:9797
path: /shadow
path_concat_mode: prefix
sample_ratio: 0.1)yaml",
      .on_failure = FailureMode::kOpen};

  enum class Concat : uint8_t { kReplace, kPrefix };

  struct Config {
    std::string host;
    std::string path;
    Concat path_concat_mode = Concat::kReplace;
    double sample_ratio = 1;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);
  static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);

  ProxyMirror(Config config, ServiceUrl url, int32_t upstream)
      : config_(std::move(config)), url_(std::move(url)), upstream_(upstream) {}

  Verdict OnAccess(RequestContext& request) const override;
  // Longer bodies are not kept for a copy: their requests are not mirrored.
  uint64_t request_body_wish() const override { return kLargestBody; }

 private:
  static constexpr uint64_t kLargestBody = 1024 * 1024;
  static constexpr uint32_t kMostUnderWay = 1000;  // copies; no more while the service is slow

  std::string Target(RequestContext& request) const;

  const Config config_;
  const ServiceUrl url_;
  const int32_t upstream_;
  // Of this worker; outlives the plugin while copies are under way.
  const std::shared_ptr<uint32_t> under_way_ = std::make_shared<uint32_t>(0);
};

}  // namespace sluice::plugins
