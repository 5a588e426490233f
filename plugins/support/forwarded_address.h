// Addresses of clients as proxies write them into a request.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "gateway/base/address.h"
#include "gateway/base/cidr_set.h"

namespace sluice::plugins {

struct ForwardedAddress {
  IpAddress ip;
  uint16_t port = 0;  // 0: not said
  friend bool operator==(const ForwardedAddress&, const ForwardedAddress&) = default;
};

// "10.0.0.1", "10.0.0.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80".
std::optional<ForwardedAddress> ParseForwardedAddress(std::string_view text);

// The last member of a list. With `trusted` the first from the right that it does not hold, or the
// leftmost. nullopt where that is no address.
std::optional<ForwardedAddress> FindInList(std::string_view list, const CidrSet* trusted);

}  // namespace sluice::plugins
