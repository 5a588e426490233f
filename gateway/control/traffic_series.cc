#include "gateway/control/traffic_series.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <numeric>
#include <utility>

#include "gateway/observe/series_row.h"

namespace sluice {
namespace {

using Words = std::array<uint64_t, kTrafficWords>;

void AddTo(Traffic<uint64_t>& to, const Traffic<uint64_t>& other) {
  auto sums = std::bit_cast<Words>(to);
  const auto more = std::bit_cast<Words>(other);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  to = std::bit_cast<Traffic<uint64_t>>(sums);
}

}  // namespace

std::vector<TrafficSeries> ReadTraffic(const MetricSlabs& slabs) {
  std::vector<TrafficSeries> series;
  slabs.traffic().ForEach([&](std::string_view text, std::span<const uint64_t> sums) {
    const auto traffic = RowOf<Traffic<uint64_t>>(sums);
    const TrafficLabels labels = TrafficLabels::Unpack(text);
    const auto& statuses = traffic.statuses;
    const uint64_t requests = std::accumulate(statuses.begin(), statuses.end(), uint64_t{0});
    if (requests == 0 && !labels.route.empty()) return;
    series.push_back(TrafficSeries{
        std::string(labels.route), std::string(labels.service), std::string(labels.matched_uri),
        std::string(labels.matched_host), std::string(labels.id), labels.disabled, traffic});
  });
  return series;
}

std::vector<TrafficSeries> Merge(const std::vector<TrafficSeries>& series,
                                 const std::function<std::string(const TrafficSeries&)>& key) {
  std::map<std::string, TrafficSeries> merged;
  for (const TrafficSeries& one : series) {
    const auto [found, added] = merged.try_emplace(key(one), one);
    if (!added) AddTo(found->second.traffic, one.traffic);
  }
  std::vector<TrafficSeries> list;
  list.reserve(merged.size());
  for (auto& [text, one] : merged) list.push_back(std::move(one));
  return list;
}

std::vector<TrafficSeries> MergeByRoute(const std::vector<TrafficSeries>& series) {
  return Merge(series, [](const TrafficSeries& one) {
    return one.route + SeriesTable::kSeparator + one.service;
  });
}

}  // namespace sluice
