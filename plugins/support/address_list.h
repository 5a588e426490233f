// Lists of addresses and ranges in configurations, as ip-restriction and real-ip have them.
#pragma once

#include <optional>
#include <vector>

#include "conf/types.h"
#include "gateway/base/address.h"

namespace sluice::plugins {

// "10.0.0.1", "10.0.0.0/8", "2001:db8::/32".
struct AddressRange {
  std::optional<Cidr> operator()(const conf::Place& place) const {
    if (!place.node.is_string()) return place.Expected(kWhat);
    auto range = Cidr::Make(place.node.text);
    if (range.has_value()) return *range;
    return place.Expected(kWhat);
  }
  conf::TypeSchema Schema() const { return {"\"type\":\"string\"", kWhat, {}}; }

  static constexpr const char* kWhat = "an IP address or a range such as 10.0.0.0/8";
};

inline conf::ListOf<AddressRange> AddressRanges() {
  return {.item = {}, .min = 1, .unique = false, .max = 1'000'000};
}

}  // namespace sluice::plugins
