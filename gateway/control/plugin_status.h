// What plugins cost and decided on this host, as status and metrics tell it: the sums of the rows
// that workers count in. In the controller.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/json_writer.h"
#include "gateway/base/time.h"
#include "gateway/observe/metric_slabs.h"

namespace sluice {

// One plugin on one route, since the gateway was started.
struct PluginStatus {
  std::string route;  // its id; "consumer/jack"; empty: requests without a route
  std::string plugin;
  uint64_t calls = 0;
  Duration running{};    // in its hooks
  Duration suspended{};  // while it held a request
  uint64_t replies = 0;
  uint64_t suspensions = 0;
  uint64_t failures = 0;
  uint64_t shadowed = 0;  // verdicts that were not followed

  void Add(const PluginStatus& other);
};

// Those that were called, the most expensive first.
std::vector<PluginStatus> ReadPlugins(const MetricSlabs& slabs);

void AppendPlugins(JsonWriter& json, const std::vector<PluginStatus>& plugins);   // a list
void AppendPlugins(std::string& text, const std::vector<PluginStatus>& plugins);  // a table

}  // namespace sluice
