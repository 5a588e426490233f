// file-logger: a line of JSON for each request, to a file. APISIX's fields. The file is opened for
// each batch of lines, so that it may be moved away or deleted at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "gateway/plugin/plugin.h"
#include "plugins/support/log_batch.h"
#include "plugins/support/logger.h"

namespace sluice::plugins {

class FileLogger final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "file-logger",
      .priority = 399,
      .summary = "Writes a line of JSON for each request to a file.",
      .example = R"yaml(path: /var/log/sluice/requests.log
log_format: {client: $remote_addr, status: $status, seconds: $request_time})yaml",
      .on_failure = FailureMode::kOpen};

  struct Config : LoggerFields {
    std::string path;
  };
  static const conf::Fields<Config>& Fields();
  struct Metadata : LoggerMetadata {
    std::string path;
  };
  static const conf::Fields<Metadata>& MetadataFields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);

  FileLogger(Logger logger, std::shared_ptr<LogBatch> batch)
      : logger_(std::move(logger)), batch_(std::move(batch)) {}

  uint64_t request_body_sample() const override { return logger_.request_body_sample(); }
  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;
  void OnBodyFilter(RequestContext& request, BodyPiece& piece) const override;
  void OnLog(RequestContext& request, const AccessRecord& record) const override;

 private:
  const Logger logger_;
  const std::shared_ptr<LogBatch> batch_;
};

}  // namespace sluice::plugins
