// http-logger: a line of JSON for each request, in batches to an HTTP service. APISIX's fields.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conf/plugin_upstreams.h"
#include "gateway/plugin/plugin.h"
#include "plugins/support/log_batch.h"
#include "plugins/support/logger.h"

namespace sluice::plugins {

class HttpLogger final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "http-logger",
      .priority = 410,
      .summary = "Sends a line of JSON for each request to an HTTP service.",
      .example = R"yaml(uri: http://127.0.0.1:3100/logs
concat_method: new_line
batch_max_size: 500
max_retry_count: 3)yaml",
      .on_failure = FailureMode::kOpen};

  enum class Concat : uint8_t { kJson, kNewLine };

  struct Config : LoggerFields {
    std::string uri;
    std::string auth_header;
    int timeout = 3;
    bool ssl_verify = false;
    Concat concat_method = Concat::kJson;
    std::string name = "http logger";
    int batch_max_size = 1000;
    int inactive_timeout = 5;
    int buffer_duration = 60;
    int max_retry_count = 0;
    int retry_delay = 1;
  };
  static const conf::Fields<Config>& Fields();
  struct Metadata : LoggerMetadata {
    int max_pending_entries = 8192;
  };
  static const conf::Fields<Metadata>& MetadataFields();
  static std::unique_ptr<const Plugin> Make(const Config& config, const PluginBuild& build);
  static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);

  class Batch;
  HttpLogger(Logger logger, std::shared_ptr<Batch> batch);

  uint64_t request_body_sample() const override { return logger_.request_body_sample(); }
  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;
  void OnBodyFilter(RequestContext& request, BodyPiece& piece) const override;
  void OnLog(RequestContext& request, const AccessRecord& record) const override;

 private:
  const Logger logger_;
  const std::shared_ptr<Batch> batch_;
};

}  // namespace sluice::plugins
