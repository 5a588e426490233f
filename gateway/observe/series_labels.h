// The labels of the series in the tables of MetricSlabs, as values; a table keeps them as one text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/observe/series_table.h"

namespace sluice {

// APISIX's families, of which labels can be turned off.
enum class CompatFamily : uint8_t { kStatus, kLatency, kBandwidth };
enum class CompatLabel : uint8_t { kRoute, kMatchedUri, kMatchedHost, kService };

// Sets of pairs of these.
class DisabledLabels {
 public:
  void Add(CompatFamily family, CompatLabel label) { bits_ |= Bit(family, label); }
  bool Contains(CompatFamily family, CompatLabel label) const {
    return (bits_ & Bit(family, label)) != 0;
  }
  uint64_t bits() const { return bits_; }
  static DisabledLabels FromBits(uint64_t bits) {
    DisabledLabels labels;
    labels.bits_ = bits;
    return labels;
  }

 private:
  static uint64_t Bit(CompatFamily family, CompatLabel label) {
    return uint64_t{1} << (static_cast<unsigned>(family) * 8 + static_cast<unsigned>(label));
  }
  uint64_t bits_ = 0;
};

// That a plugin has asked for series of its route's own.
struct RouteSeries {
  bool prefer_name = false;  // labels are names instead of ids where there are some
  DisabledLabels disabled;   // of the series with APISIX's names
};

struct TrafficLabels {
  std::string_view route = {};  // empty: all routes that are not counted apart
  std::string_view service = {};
  std::string_view matched_uri = {};   // where the route has one
  std::string_view matched_host = {};  // the same
  std::string_view id = {};            // the route's, also where `route` is its name
  DisabledLabels disabled = {};

  std::string Pack() const;
  static TrafficLabels Unpack(std::string_view labels);
};

struct PluginLabels {
  std::string_view route;  // "consumer/jack" for a consumer's plugin; empty: no route matched
  std::string_view plugin;

  std::string Pack() const;
  static PluginLabels Unpack(std::string_view labels);
};

}  // namespace sluice
