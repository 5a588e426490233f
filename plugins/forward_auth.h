// forward-auth: asks an authorization service about each request. APISIX's fields.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conf/plugin_upstreams.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/plugin.h"
#include "gateway/plugin/sub_request.h"
#include "plugins/support/service_url.h"

namespace sluice::plugins {

class ForwardAuth final : public Plugin {
 public:
  static constexpr PluginTraits kTraits{
      .name = "forward-auth",
      .priority = 2002,
      .summary = "Asks an authorization service whether a request may pass.",
      .example = R"yaml(uri: http://127.0.0.1:9090/auth
request_headers: [Authorization]
upstream_headers: [X-User]
client_headers: [Location])yaml",
      .enforces = true};

  enum class Ask : uint8_t { kGet, kPost };

  struct Config {
    std::string uri;
    Ask request_method = Ask::kGet;
    std::vector<std::string> request_headers;
    std::vector<std::string> upstream_headers;
    std::vector<std::string> client_headers;
    std::vector<std::pair<std::string, std::string>> extra_headers;
    int timeout = 3000;
    bool ssl_verify = true;
    bool keepalive = true;
    int keepalive_timeout = 60'000;
    int keepalive_pool = 5;
    bool allow_degradation = false;
    int status_on_error = 403;
    uint64_t max_req_body_size = 67'108'864;
  };
  static const conf::Fields<Config>& Fields();
  static std::unique_ptr<const Plugin> Make(Config config, const PluginBuild& build);
  static void FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink);

  Verdict OnAccess(RequestContext& request) const override;
  uint64_t request_body_limit() const override {
    return config_.request_method == Ask::kPost ? config_.max_req_body_size : 0;
  }

 private:
  SubRequest Question(RequestContext& request) const;
  Verdict Decide(RequestContext& request, const Result<SubResponse>& answer) const;

  Config config_;
  ServiceUrl url_;
  int32_t upstream_ = -1;
  std::vector<std::pair<std::string, TextTemplate>> extra_headers_;
};

}  // namespace sluice::plugins
