// The rows of MetricSlabs in which the requests of one revision are counted, taken when the
// revision is built, off the loop thread. Held by whoever serves with the snapshot, which it goes
// with; the rows are free when it dies.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gateway/http/request_view.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/routing/expression.h"
#include "gateway/snapshot/snapshot.h"

namespace sluice {

class SnapshotSeries {
 public:
  static std::shared_ptr<const SnapshotSeries> Make(const Snapshot& snapshot,
                                                    std::shared_ptr<MetricSlabs> slabs);
  ~SnapshotSeries();
  SnapshotSeries(const SnapshotSeries&) = delete;
  SnapshotSeries& operator=(const SnapshotSeries&) = delete;

  // Where a request of that route of the snapshot is counted.
  Traffic<Tally>& traffic(size_t route, const RequestView& view) const {
    if (routes_.empty()) return *all_others_;
    const Route& of = routes_[route];
    return of.filter == nullptr || of.filter->Matches(view) ? *of.counts : *all_others_;
  }
  // And one without a route, or with one that is not counted apart.
  Traffic<Tally>& all_others() const { return *all_others_; }

  // By the numbers of the snapshot's chains.
  std::span<PluginCost* const> costs() const { return costs_; }

 private:
  struct Route {
    Traffic<Tally>* counts = nullptr;
    const Expression* filter = nullptr;  // null: all requests; else the others are not apart
  };

  explicit SnapshotSeries(std::shared_ptr<MetricSlabs> slabs) : slabs_(std::move(slabs)) {}
  void TakeTraffic(const Snapshot& snapshot);
  void TakeCosts(const PluginChains& chains);

  const std::shared_ptr<MetricSlabs> slabs_;
  std::vector<uint32_t> traffic_rows_;
  std::vector<uint32_t> plugin_rows_;
  std::vector<Route> routes_;  // empty: none is counted apart
  Traffic<Tally>* all_others_ = nullptr;
  std::vector<PluginCost*> costs_;
};

}  // namespace sluice
