// All counters of a gateway, in memory that master makes and every process maps: each process
// counts in a column of its own and anybody adds them up, so that counting takes no locked
// instruction and neither a reload nor the death of a process loses a count.
//
//   head     locks, the scale of ticks
//   columns  ProcessCounters: workers, controller, master
//   tables   traffic by route, cost by route and plugin (series_table.h)
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/base/error.h"
#include "gateway/base/shared_memory.h"
#include "gateway/base/ticks.h"
#include "gateway/observe/plugin_cost.h"
#include "gateway/observe/series_table.h"
#include "gateway/observe/tally.h"
#include "gateway/observe/traffic.h"

namespace sluice {

// What one process counts apart from routes. A worker's successor goes on with its numbers.
struct alignas(64) ProcessCounters {
  // How much there is now; of a process that died, nothing.
  struct Present {
    Tally connections;
    Tally exchanges;
    Tally tunnels;
  } present;

  // Worker.
  Tally connections;            // accepted
  Tally connections_refused;    // for their PROXY header
  Tally connections_displaced;  // idle ones, for others at worker_connections
  Tally accept_pauses;          // worker_connections is reached
  Tally http2_floods;
  Tally handshakes_full;
  Tally handshakes_resumed;
  Tally handshakes_failed;
  Tally upstream_attempts;
  Tally own_requests;  // that plugins have sent
  Tally log_lines_dropped;
  std::array<Tally, static_cast<size_t>(ErrorCode::kCount)> ends;  // of requests, by reason

  // Controller.
  Tally reloads;  // that were committed
  Tally reloads_refused;
  Tally last_reload;  // when: seconds since 1970

  // Master.
  Tally worker_deaths;
  Tally controller_deaths;

  // All: lines for the error log, from any thread.
  std::atomic<uint64_t> warnings;
  std::atomic<uint64_t> errors;
};

class MetricSlabs {
 public:
  // Routes with counts of their own that a configuration may ask for. There is room for two
  // configurations, because one replaces the other while both are in use.
  static constexpr uint32_t kMaxRoutes = 8000;
  static constexpr uint32_t kTrafficRows = 2 * kMaxRoutes + 64;
  static constexpr uint32_t kPluginRows = 128 * 1024;
  // The route of those that have no series of their own although they should.
  static constexpr std::string_view kOtherRoutes = "other";

  // By master: for `roles` (workers, then the controller) and itself.
  static Result<std::shared_ptr<MetricSlabs>> Make(uint32_t roles);
  // By a role, which is the only one with that `column`.
  static Result<std::shared_ptr<MetricSlabs>> Map(const UniqueFd& memory, uint32_t roles,
                                                  uint32_t column);
  MetricSlabs(const MetricSlabs&) = delete;
  MetricSlabs& operator=(const MetricSlabs&) = delete;

  const UniqueFd& memory() const { return memory_.fd(); }  // to hand to roles, which Map it
  const TickScale& scale() const { return scale_; }
  uint32_t roles() const { return roles_; }

  ProcessCounters& own() { return columns_[column_]; }
  ProcessCounters& column(uint32_t index) { return columns_[index]; }
  const ProcessCounters& column(uint32_t index) const { return columns_[index]; }
  uint32_t columns() const { return roles_ + 1; }  // master's is the last

  SeriesTable& traffic() { return traffic_; }
  const SeriesTable& traffic() const { return traffic_; }
  SeriesTable& plugins() { return plugins_; }
  const SeriesTable& plugins() const { return plugins_; }
  Traffic<Tally>& own_traffic(uint32_t row) {
    return *reinterpret_cast<Traffic<Tally>*>(traffic_.own(row));
  }
  PluginCost& own_cost(uint32_t row) { return *reinterpret_cast<PluginCost*>(plugins_.own(row)); }

  // Precondition: the process of that column is dead, and its successor has not begun.
  void OnDied(uint32_t column);

 private:
  struct Head;

  MetricSlabs(SharedMemory memory, uint32_t roles, uint32_t column);
  Head& head() const { return *reinterpret_cast<Head*>(memory_.data()); }

  const SharedMemory memory_;
  const uint32_t roles_;
  const uint32_t column_;
  TickScale scale_;
  ProcessCounters* columns_;
  SeriesTable traffic_;
  SeriesTable plugins_;
};

}  // namespace sluice
