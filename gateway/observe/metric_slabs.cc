#include "gateway/observe/metric_slabs.h"

#include <utility>

#include "gateway/observe/series_labels.h"

namespace sluice {
namespace {

constexpr size_t kPage = 4096;
constexpr const char* kName = "metric slabs";

constexpr SeriesTable::Shape kTrafficShape{
    .rows = MetricSlabs::kTrafficRows, .words = kTrafficWords, .label_bytes = 1024};
constexpr SeriesTable::Shape kPluginShape{.rows = MetricSlabs::kPluginRows,
                                          .words = sizeof(PluginCost) / sizeof(uint64_t),
                                          .label_bytes = 232};

// Where the parts begin.
struct SlabPlaces {
  size_t columns = kPage;
  size_t traffic, plugins, end;

  explicit SlabPlaces(uint32_t processes) {
    const size_t all_columns = processes * sizeof(ProcessCounters);
    traffic = columns + (all_columns + kPage - 1) / kPage * kPage;
    plugins = traffic + SeriesTable::Size(kTrafficShape, processes);
    end = plugins + SeriesTable::Size(kPluginShape, processes);
  }
};

}  // namespace

struct MetricSlabs::Head {
  RobustMutex traffic_lock;
  RobustMutex plugin_lock;
  double nanoseconds_per_tick;
};

MetricSlabs::MetricSlabs(SharedMemory memory, uint32_t roles, uint32_t column)
    : memory_(std::move(memory)),
      roles_(roles),
      column_(column),
      scale_(head().nanoseconds_per_tick),
      columns_(reinterpret_cast<ProcessCounters*>(memory_.data() + SlabPlaces(roles + 1).columns)),
      traffic_(kTrafficShape, memory_.data() + SlabPlaces(roles + 1).traffic, head().traffic_lock,
               roles + 1, column),
      plugins_(kPluginShape, memory_.data() + SlabPlaces(roles + 1).plugins, head().plugin_lock,
               roles + 1, column) {}

Result<std::shared_ptr<MetricSlabs>> MetricSlabs::Make(uint32_t roles) {
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory,
                          SharedMemory::Make(kName, SlabPlaces(roles + 1).end));
  auto& head = *reinterpret_cast<Head*>(memory.data());
  head.nanoseconds_per_tick = TickScale::Measure().nanoseconds_per_tick();
  auto slabs = std::shared_ptr<MetricSlabs>(new MetricSlabs(std::move(memory), roles, roles));
  SLUICE_TRY(head.traffic_lock.Init());
  SLUICE_TRY(head.plugin_lock.Init());
  slabs->traffic_.Init(TrafficLabels{.route = kOtherRoutes}.Pack());
  slabs->plugins_.Init(PluginLabels{kOtherRoutes, "other"}.Pack());
  return slabs;
}

Result<std::shared_ptr<MetricSlabs>> MetricSlabs::Map(const UniqueFd& memory, uint32_t roles,
                                                      uint32_t column) {
  SLUICE_CHECK(column < roles);
  SLUICE_ASSIGN_OR_RETURN(SharedMemory mapped,
                          SharedMemory::Map(memory, kName, SlabPlaces(roles + 1).end));
  return std::shared_ptr<MetricSlabs>(new MetricSlabs(std::move(mapped), roles, column));
}

void MetricSlabs::OnDied(uint32_t column) {
  SLUICE_CHECK(column < roles_);
  ProcessCounters& dead = columns_[column];
  dead.present.connections.Set(0);
  dead.present.exchanges.Set(0);
  dead.present.tunnels.Set(0);
  traffic_.ReleaseColumn(column);
  plugins_.ReleaseColumn(column);
}

}  // namespace sluice
