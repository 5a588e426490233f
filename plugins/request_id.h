// request-id: gives each request an identifier that the upstream and the client see. APISIX's
// fields.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "gateway/plugin/plugin.h"

namespace sluice::plugins {

class RequestId final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "request-id",
      .priority = 12015,
      .summary = "Gives each request an identifier, unless its client has.",
      .example = R"yaml(header_name: X-Request-Id
algorithm: uuidv7)yaml",
      .on_failure = FailureMode::kOpen};

  enum class Algorithm : uint8_t { kUuid, kNanoId, kRangeId, kKsuid, kUuidV7 };
  struct RangeId {
    std::string char_set = "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789";
    size_t length = 16;
  };
  struct Config {
    std::string header_name = "X-Request-Id";
    bool include_in_response = true;
    Algorithm algorithm = Algorithm::kUuid;
    RangeId range_id;
  };
  static const conf::Fields<Config>& Fields();

  explicit RequestId(Config config) : config_(std::move(config)) {}

  Verdict OnRewrite(RequestContext& request) const override;
  Verdict OnHeaderFilter(RequestContext& request, ResponseContext& response) const override;

 private:
  struct Given {
    std::string_view id;  // in the request's arena
  };

  std::string MakeId(RequestContext& request) const;

  const Config config_;
};

}  // namespace sluice::plugins
