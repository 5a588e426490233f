// The URL of a service that a plugin asks: http://auth.internal:8080/check?a=b.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "conf/plugin_upstreams.h"
#include "conf/resources.h"
#include "conf/types.h"
#include "gateway/base/result.h"

namespace sluice::plugins {

struct ServiceUrl {
  // An error says what was expected.
  static Result<ServiceUrl> Make(std::string_view text);

  // One node, without retries: who asks decides what a failure means.
  conf::UpstreamConfig Upstream() const;

  bool tls = false;
  std::string host;  // without brackets
  uint16_t port = 0;
  std::string authority;  // for Host: without the usual port
  std::string target;     // path and query
};

// Tells `sink` of the upstream that the URL in `field` of a plugin of class P means; the plugin's
// other fields may change it: adjust(config, upstream). What is wrong is left to be said when P is
// made.
template <typename P, typename Adjust>
void AddServiceUpstream(const conf::Place& plugin, conf::UpstreamSink& sink, std::string_view field,
                        Adjust adjust) {
  const conf::Node* const uri = plugin.node.is_map() ? plugin.node.Find(field) : nullptr;
  if (uri == nullptr || !uri->is_string()) return;
  const auto url = ServiceUrl::Make(uri->text);
  conf::Diagnostics said_later;
  typename P::Config config;
  const conf::Place quiet{plugin.node, said_later};
  if (!url.has_value() || !conf::ReadFields(quiet, P::Fields(), config, "_meta")) return;
  conf::UpstreamConfig upstream = url->Upstream();
  upstream.tls.path = plugin.Path();
  upstream.tls.position = upstream.position = uri->position;
  adjust(config, upstream);
  sink.Add(conf::Place{*uri, plugin.diagnostics, &plugin, field}, std::move(upstream));
}

inline bool IsServiceUrl(std::string_view text) { return ServiceUrl::Make(text).has_value(); }

inline conf::TextLike ServiceUrlText() {
  return {"a URL as http://host:port/path", IsServiceUrl, "^https?://[^/]+", {1, 4096}};
}

}  // namespace sluice::plugins
