#include "plugins/support/forwarded_address.h"

#include "gateway/base/text.h"

namespace sluice::plugins {
namespace {

// ":80"
std::optional<uint16_t> ParsePort(std::string_view text) {
  if (!text.starts_with(':')) return std::nullopt;
  const auto port = ParseDecimal(text.substr(1));
  if (!port || *port == 0 || *port > 65535) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

}  // namespace

std::optional<ForwardedAddress> ParseForwardedAddress(std::string_view text) {
  text = TrimOws(text);
  std::string_view host = text;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
    if (host.find(':') == std::string_view::npos) return std::nullopt;
  } else if (const size_t colon = text.find(':'); colon == text.rfind(':')) {
    host = text.substr(0, colon);
    rest = text.substr(host.size());
  }
  const auto ip = IpAddress::Parse(host);
  if (!ip) return std::nullopt;
  if (rest.empty()) return ForwardedAddress{*ip, 0};
  const auto port = ParsePort(rest);
  return port ? std::optional(ForwardedAddress{*ip, *port}) : std::nullopt;
}

std::optional<ForwardedAddress> FindInList(std::string_view list, const CidrSet* trusted) {
  while (true) {
    const size_t comma = list.rfind(',');
    const bool is_last = comma == std::string_view::npos;
    const auto address = ParseForwardedAddress(is_last ? list : list.substr(comma + 1));
    if (!address || is_last || trusted == nullptr || !trusted->Contains(address->ip)) {
      return address;
    }
    list = list.substr(0, comma);
  }
}

}  // namespace sluice::plugins
