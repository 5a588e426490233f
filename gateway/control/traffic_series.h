// What was counted of requests, read from the metric slabs with the labels of each row. In the
// controller, for one scrape.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gateway/observe/metric_slabs.h"
#include "gateway/observe/series_labels.h"
#include "gateway/observe/traffic.h"

namespace sluice {

struct TrafficSeries {
  std::string route;  // id, or name; empty: all that are not counted apart
  std::string service;
  std::string matched_uri;
  std::string matched_host;
  std::string id;  // of the route
  DisabledLabels disabled;
  Traffic<uint64_t> traffic;
};

// The rows that have counted something, and that of the routes that are not counted apart.
std::vector<TrafficSeries> ReadTraffic(const MetricSlabs& slabs);

// One for each different text that `key` makes of them, in its order.
std::vector<TrafficSeries> Merge(const std::vector<TrafficSeries>& series,
                                 const std::function<std::string(const TrafficSeries&)>& key);
// One for each route and service: names need not be unique.
std::vector<TrafficSeries> MergeByRoute(const std::vector<TrafficSeries>& series);

}  // namespace sluice
