#include "plugins/support/service_url.h"

#include <algorithm>
#include <optional>

#include "gateway/base/address.h"
#include "gateway/base/text.h"

namespace sluice::plugins {
namespace {

Error Refused(std::string_view what, std::string_view text) {
  return GatewayError(ErrorCode::kInvalidConfig,
                      "expected " + std::string(what) + ", got \"" + std::string(text) + "\"");
}

bool IsHostName(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    const char lower = AsciiLower(c);
    return IsDigit(c) || (lower >= 'a' && lower <= 'z') || c == '-' || c == '_' || c == '.';
  });
}

// What a request line may hold: anything else would end or split it.
bool IsTarget(std::string_view target) {
  return std::all_of(target.begin(), target.end(),
                     [](char c) { return c > ' ' && c < '\x7f' && c != '#'; });
}

}  // namespace

Result<ServiceUrl> ServiceUrl::Make(std::string_view text) {
  ServiceUrl url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return Refused("http:// or https://", text);
  }
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  url.target = rest.substr(authority.size());
  if (!url.target.starts_with('/')) url.target.insert(0, 1, '/');
  if (!IsTarget(url.target)) return Refused("a path of visible ASCII characters", text);
  const bool bracketed = authority.starts_with('[');
  const size_t host_end = bracketed ? authority.find(']') + 1 : authority.find(':');
  const std::string_view host = authority.substr(0, host_end);
  url.host = bracketed && host.size() > 2 ? host.substr(1, host.size() - 2) : host;
  const bool is_host = bracketed ? IpAddress::Parse(url.host).has_value() : IsHostName(url.host);
  if (!is_host) return Refused("a host name or an address", authority);
  const uint16_t usual = url.tls ? 443 : 80;
  url.port = usual;
  if (const std::string_view port = authority.substr(host.size()); !port.empty()) {
    const auto number = port.starts_with(':') ? ParseDecimal(port.substr(1)) : std::nullopt;
    if (!number || *number == 0 || *number > UINT16_MAX) return Refused("a port", authority);
    url.port = static_cast<uint16_t>(*number);
  }
  url.authority = url.port == usual ? std::string(host) : std::string(authority);
  return url;
}

conf::UpstreamConfig ServiceUrl::Upstream() const {
  conf::UpstreamConfig upstream;
  upstream.scheme = tls ? "https" : "http";
  upstream.tls_scheme = tls;
  upstream.nodes.push_back({.host = host, .port = port, .position = {}});
  upstream.retries = 0;
  return upstream;
}

}  // namespace sluice::plugins
