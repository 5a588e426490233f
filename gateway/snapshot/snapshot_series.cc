#include "gateway/snapshot/snapshot_series.h"

#include <string_view>
#include <unordered_map>
#include <utility>

#include "gateway/observe/series_labels.h"

namespace sluice {
namespace {

// Names of those who have one, if that is preferred.
std::string_view Preferred(bool prefer_name, std::string_view name, std::string_view id) {
  return prefer_name && !name.empty() ? name : id;
}

std::string LabelsOf(const conf::RouteConfig& route, const RouteSeries& series) {
  TrafficLabels labels;
  labels.route = Preferred(series.prefer_name, route.name, route.id);
  labels.service = Preferred(series.prefer_name, route.service_name, route.service_id);
  if (route.uris.size() == 1) labels.matched_uri = route.uris.front();
  if (route.hosts.size() == 1) labels.matched_host = route.hosts.front();
  labels.id = route.id;
  labels.disabled = series.disabled;
  return labels.Pack();
}

}  // namespace

std::shared_ptr<const SnapshotSeries> SnapshotSeries::Make(const Snapshot& snapshot,
                                                           std::shared_ptr<MetricSlabs> slabs) {
  std::shared_ptr<SnapshotSeries> series(new SnapshotSeries(std::move(slabs)));
  series->TakeTraffic(snapshot);
  series->TakeCosts(snapshot.plugins());
  return series;
}

SnapshotSeries::~SnapshotSeries() {
  slabs_->traffic().Release(traffic_rows_);
  slabs_->plugins().Release(plugin_rows_);
}

// Routes above the limit, in the order of the configuration, share the last resort.
void SnapshotSeries::TakeTraffic(const Snapshot& snapshot) {
  const conf::Config& config = snapshot.config();
  constexpr std::string_view kOther = MetricSlabs::kOtherRoutes;
  const uint32_t limit = config.gateway.metrics.max_routes;
  std::vector<SeriesTable::Wanted> wanted = {{.labels = TrafficLabels().Pack(), .pinned = true}};
  std::vector<size_t> of_route(config.routes.size());  // index into `wanted`; 0: not apart
  bool any = false;
  for (size_t i = 0; i < config.routes.size(); ++i) {
    const RouteSeries* const series = snapshot.plugins().SeriesOfRoute(i).series;
    if (series == nullptr) continue;
    any = true;
    of_route[i] = wanted.size();
    const bool has_room = wanted.size() <= limit;
    wanted.push_back({.labels = has_room ? LabelsOf(config.routes[i], *series)
                                         : TrafficLabels{.route = kOther}.Pack()});
  }
  traffic_rows_ = slabs_->traffic().Acquire(wanted, 2 * limit);
  all_others_ = &slabs_->own_traffic(traffic_rows_.front());
  if (!any) return;
  for (size_t i = 0; i < of_route.size(); ++i) {
    routes_.push_back({&slabs_->own_traffic(traffic_rows_[of_route[i]]),
                       snapshot.plugins().SeriesOfRoute(i).filter});
  }
}

void SnapshotSeries::TakeCosts(const PluginChains& chains) {
  std::vector<SeriesTable::Wanted> wanted;
  std::unordered_map<std::string_view, int32_t> of_plugin;  // what serves when there is no room
  for (const PluginChains::CostName& name : chains.costs()) {
    if (!of_plugin.emplace(name.plugin, static_cast<int32_t>(wanted.size())).second) continue;
    wanted.push_back(
        {.labels = PluginLabels{MetricSlabs::kOtherRoutes, name.plugin}.Pack(), .pinned = true});
  }
  const size_t first = wanted.size();
  for (const PluginChains::CostName& name : chains.costs()) {
    wanted.push_back({.labels = PluginLabels{name.route, name.plugin}.Pack(),
                      .fallback = of_plugin[name.plugin]});
  }
  plugin_rows_ = slabs_->plugins().Acquire(wanted, MetricSlabs::kPluginRows / 2);
  for (size_t i = first; i < plugin_rows_.size(); ++i) {
    costs_.push_back(&slabs_->own_cost(plugin_rows_[i]));
  }
}

}  // namespace sluice
