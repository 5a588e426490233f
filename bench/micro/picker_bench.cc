// What the choice of a node costs one request, with the state that all workers share: the pick
// itself among 1 and 100 endpoints, and counting what is in flight there. With two threads each is
// a worker of its own, and both count on the same record.
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/proxy/picker.h"
#include "gateway/proxy/upstream_state.h"
#include "tests/unit/proxy/plan_of.h"

namespace sluice {
namespace {

using Type = UpstreamPlan::Type;
using Counter = EndpointTable::Counter;

constexpr uint32_t kProcesses = 2;

const EndpointTable& Shared() {
  static const auto kTable = EndpointTable::Make(kProcesses).value();
  return *kTable;
}

// One worker's side of an upstream.
struct Worker {
  Worker(uint32_t column, Type type, size_t count)
      : table(EndpointTable::Map(Shared().memory(), kProcesses, column).value()), picker(column) {
    for (size_t i = 0; i < count; ++i) {
      const auto address = SocketAddress::Make("10.0.0.1:" + std::to_string(1000 + i)).value();
      endpoints.push_back(std::make_shared<Endpoint>(table, "upstream", address));
      endpoints.back()->shared->weight = 1;
    }
    picker.Update({}, PlanOf(type, endpoints), endpoints, now);
  }

  std::shared_ptr<EndpointTable> table;
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  MonoTime now = MonoNow();
  Picker picker;
};

// A request as UpstreamCall makes it: pick, count, count no more. kTurn requests come in one
// millisecond.
void PickAndCount(benchmark::State& state, Type type) {
  constexpr int kTurn = 32;
  Worker worker(static_cast<uint32_t>(state.thread_index()), type,
                static_cast<size_t>(state.range(0)));
  std::vector<std::string> keys;
  keys.reserve(256);
  for (int i = 0; i < 256; ++i) keys.push_back("/some/path/" + std::to_string(i));
  uint32_t requests = 0;
  for (auto _ : state) {
    if (++requests % kTurn == 0) worker.now += milliseconds(1);
    const auto picked =
        worker.picker.Pick({.tried = {}, .key = keys[requests % 256], .now = worker.now});
    HeldRecord& record = worker.endpoints[*picked]->shared;
    record.Add(Counter::kActive);
    benchmark::DoNotOptimize(&record);
    record.Remove(Counter::kActive);
  }
}

#define SLUICE_PICKS(name, type)                                       \
  BENCHMARK_CAPTURE(PickAndCount, name, Type::type)->Arg(1)->Arg(100); \
  BENCHMARK_CAPTURE(PickAndCount, name, Type::type)->Arg(1)->Arg(100)->Threads(2)

SLUICE_PICKS(roundrobin, kRoundRobin);
SLUICE_PICKS(least_conn, kLeastConn);
SLUICE_PICKS(chash, kChash);
SLUICE_PICKS(maglev, kMaglev);
SLUICE_PICKS(ewma, kEwma);
SLUICE_PICKS(random, kRandom);

// What a list of 1,000 nodes costs of which one is another than before: the plan, on a pool thread,
// and taking it over, on the loop.
struct Change {
  explicit Change(Type type) : worker(0, type, 1000), lists{worker.endpoints, worker.endpoints} {
    const auto address = SocketAddress::Make("10.0.0.2:1").value();
    lists[1][500] = std::make_shared<Endpoint>(worker.table, "upstream", address);
    lists[1][500]->shared->weight = 1;
    for (size_t i = 0; i < 2; ++i) plans[i] = PlanOf(type, lists[i]);
  }

  Worker worker;
  std::vector<std::shared_ptr<Endpoint>> lists[2];
  std::shared_ptr<const UpstreamPlan> plans[2];
};

void Plan(benchmark::State& state, Type type) {
  const Change change(type);
  for (auto _ : state) benchmark::DoNotOptimize(PlanOf(type, change.lists[1]));
}

void TakePlan(benchmark::State& state, Type type) {
  Change change(type);
  size_t next = 0;
  for (auto _ : state) {
    ++next;
    change.worker.picker.Update({}, change.plans[next % 2], change.lists[next % 2],
                                change.worker.now);
  }
}

#define SLUICE_CHANGES(name, type)                                          \
  BENCHMARK_CAPTURE(Plan, name, Type::type)->Unit(benchmark::kMicrosecond); \
  BENCHMARK_CAPTURE(TakePlan, name, Type::type)->Unit(benchmark::kMicrosecond)

SLUICE_CHANGES(roundrobin, kRoundRobin);
SLUICE_CHANGES(chash, kChash);
SLUICE_CHANGES(maglev, kMaglev);

}  // namespace
}  // namespace sluice
