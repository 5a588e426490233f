// The URL of a service that a plugin asks: http://auth.internal:8080/check?a=b.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

inline bool IsServiceUrl(std::string_view text) { return ServiceUrl::Make(text).has_value(); }

inline conf::TextLike ServiceUrlText() {
  return {"a URL as http://host:port/path", IsServiceUrl, "^https?://[^/]+", {1, 4096}};
}

}  // namespace sluice::plugins
