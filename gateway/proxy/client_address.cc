#include "gateway/proxy/client_address.h"

#include <algorithm>

#include "gateway/base/text.h"

namespace sluice {
namespace {

// One member of X-Forwarded-For: an address, an address with a port, or a bracketed IPv6 address.
std::optional<IpAddress> ParseForwardedAddress(std::string_view text) {
  text = TrimOws(text);
  if (const auto ip = IpAddress::Parse(text)) return ip;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    return IpAddress::Parse(text.substr(1, end - 1));
  }
  return IpAddress::Parse(text.substr(0, text.rfind(':')));
}

}  // namespace

bool IsTrusted(const IpAddress& ip, std::span<const Cidr> trusted) {
  if (ip.is_none()) return !trusted.empty();
  return std::any_of(trusted.begin(), trusted.end(),
                     [&](const Cidr& range) { return range.Contains(ip); });
}

ClientAddress FindClientAddress(const IpAddress& peer, const HeaderList& fields,
                                std::span<const Cidr> trusted) {
  ClientAddress client{peer, false};
  if (trusted.empty() || !IsTrusted(peer, trusted)) return client;
  client.peer_is_trusted = true;
  if (!fields.Has(HeaderId::kXForwardedFor)) return client;
  for (size_t i = fields.size(); i-- > 0;) {
    if (fields[i].id != HeaderId::kXForwardedFor) continue;
    std::string_view list = fields[i].value;
    while (!list.empty()) {
      const size_t comma = list.rfind(',');
      const auto ip =
          ParseForwardedAddress(comma == std::string_view::npos ? list : list.substr(comma + 1));
      if (!ip) return client;
      client.ip = *ip;
      if (!IsTrusted(*ip, trusted)) return client;
      list = comma == std::string_view::npos ? std::string_view() : list.substr(0, comma);
    }
  }
  return client;
}

}  // namespace sluice
