// One pick among 100 endpoints by each algorithm, as a request makes it; and what else of balancer/
// a request pays.
#include <array>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "balancer/bounded_load.h"
#include "balancer/breaker.h"
#include "balancer/chash.h"
#include "balancer/ewma.h"
#include "balancer/least_conn.h"
#include "balancer/maglev.h"
#include "balancer/outlier.h"
#include "balancer/random.h"
#include "balancer/random_two.h"
#include "balancer/rotation.h"
#include "balancer/split.h"

namespace sluice::balancer {
namespace {

constexpr size_t kEndpoints = 100;

// Endpoints of weights 1 to 3, and what a caller keeps for them.
struct Set {
  Set() : states(kEndpoints), in_flight(kEndpoints) {
    for (size_t i = 0; i < kEndpoints; ++i) weights.push_back(static_cast<uint32_t>(1 + i % 3));
    for (const uint32_t weight : weights) endpoints.push_back({weight, true});
    rotation = Rotation::Build(weights);
  }

  TieBreak ties() { return {rotation, states, cursor}; }

  std::vector<uint32_t> weights;
  std::vector<EndpointView> endpoints;
  std::vector<RoundRobinState> states;
  std::vector<uint32_t> in_flight;
  Rotation rotation;
  uint64_t cursor = 0;
  uint64_t random = 1;
};

// Picks with `pick(set)`, with 256 requests under way that end in random order.
template <typename Pick>
void UnderLoad(benchmark::State& state, Set& set, Pick pick) {
  std::array<size_t, 256> running;
  for (size_t& endpoint : running) {
    endpoint = pick(set).value_or(0);
    ++set.in_flight[endpoint];
  }
  for (auto _ : state) {
    const size_t endpoint = pick(set).value_or(0);
    ++set.in_flight[endpoint];
    size_t& done = running[NextRandom(set.random) >> 56];
    --set.in_flight[done];
    done = endpoint;
  }
}

void RoundRobin(benchmark::State& state) {
  Set set;
  for (auto _ : state) {
    benchmark::DoNotOptimize(set.rotation.Pick(set.endpoints, set.states, set.cursor));
  }
}
BENCHMARK(RoundRobin);

// Without a sequence of turns: weights that do not divide, or that move.
void RoundRobinScan(benchmark::State& state) {
  Set set;
  for (auto _ : state) benchmark::DoNotOptimize(PickRoundRobin(set.endpoints, set.states));
}
BENCHMARK(RoundRobinScan);

void LeastConn(benchmark::State& state) {
  Set set;
  UnderLoad(state, set,
            [](Set& it) { return PickLeastConn(it.endpoints, it.in_flight, it.ties()); });
}
BENCHMARK(LeastConn);

void LeastConnIdle(benchmark::State& state) {
  Set set;
  for (auto _ : state) {
    benchmark::DoNotOptimize(PickLeastConn(set.endpoints, set.in_flight, set.ties()));
  }
}
BENCHMARK(LeastConnIdle);

void RandomTwo(benchmark::State& state) {
  Set set;
  const WeightedDraw draw = WeightedDraw::Build(set.weights);
  UnderLoad(state, set, [&](Set& it) {
    return PickRandomTwo(draw, it.endpoints, it.random, [&](size_t i) { return it.in_flight[i]; });
  });
}
BENCHMARK(RandomTwo);

void PeakEwma(benchmark::State& state) {
  Set set;
  const WeightedDraw draw = WeightedDraw::Build(set.weights);
  const Ewma ewma;
  std::array<EwmaState, kEndpoints> costs;
  TimePoint now(std::chrono::hours(1));
  for (EwmaState& cost : costs) {
    ewma.Observe(cost, std::chrono::microseconds(NextRandom(set.random) % 10'000), now);
  }
  UnderLoad(state, set, [&](Set& it) {
    now += std::chrono::microseconds(100);
    const auto pair = draw.DrawTwo(it.endpoints, it.random);
    return std::optional(ewma.Lower(
        *pair, it.endpoints, now, [&](size_t i) -> const EwmaState& { return costs[i]; },
        [&](size_t i) { return it.in_flight[i]; }));
  });
}
BENCHMARK(PeakEwma);

// Tables, looked up by keys of 16 bytes that differ from pick to pick.
struct HashedSet : Set {
  HashedSet() {
    for (size_t i = 0; i < kEndpoints; ++i) names.push_back("10.0.0." + std::to_string(i) + ":80");
    for (size_t i = 0; i < kEndpoints; ++i) nodes.push_back({names[i], 1});
    for (size_t i = 0; i < 4096; ++i) {
      keys.push_back("session-" + std::to_string(10'000'000 + NextRandom(random) % 90'000'000));
    }
  }
  HashedSet(const HashedSet&) = delete;

  std::string_view NextKey() { return keys[next_key++ % keys.size()]; }

  std::vector<std::string> names;
  std::vector<HashedNode> nodes;
  std::vector<std::string> keys;
  size_t next_key = 0;
};

template <typename Table>
void Hashed(benchmark::State& state) {
  HashedSet set;
  const auto table = std::get<Table>(Table::Build(set.nodes));
  for (auto _ : state) benchmark::DoNotOptimize(table.Pick(set.NextKey(), set.endpoints));
}
BENCHMARK(Hashed<KetamaRing>)->Name("Chash");
BENCHMARK(Hashed<MaglevTable>)->Name("Maglev");

template <typename Table>
void HashedBounded(benchmark::State& state) {
  HashedSet set;
  const auto table = std::get<Table>(Table::Build(set.nodes));
  UnderLoad(state, set, [&](Set&) {
    return table.Find(set.NextKey(), BoundedLoad(set.endpoints, set.in_flight, 1.25));
  });
}
BENCHMARK(HashedBounded<KetamaRing>)->Name("ChashBounded");
BENCHMARK(HashedBounded<MaglevTable>)->Name("MaglevBounded");

template <typename Table>
void BuildTable(benchmark::State& state) {
  const HashedSet set;
  for (auto _ : state) benchmark::DoNotOptimize(Table::Build(set.nodes));
}
BENCHMARK(BuildTable<KetamaRing>)->Name("BuildChash")->Unit(benchmark::kMicrosecond);
BENCHMARK(BuildTable<MaglevTable>)->Name("BuildMaglev")->Unit(benchmark::kMicrosecond);

void StickySplit(benchmark::State& state) {
  HashedSet set;
  const std::array<uint32_t, 3> weights = {5, 10, 85};
  const auto split = std::get<Split>(Split::Build(weights, 2, "route/1"));
  for (auto _ : state) benchmark::DoNotOptimize(split.Of(set.NextKey()));
}
BENCHMARK(StickySplit);

// What health costs a request that succeeds, with one worker.
void BreakerCall(benchmark::State& state) {
  const Breaker breaker({});
  BreakerState words;
  TimePoint now(std::chrono::hours(1));
  for (auto _ : state) {
    now += std::chrono::microseconds(100);
    const BreakerPass pass = breaker.Admit(words, now, 1);
    breaker.Report(words, pass, CallOutcome::kGood, std::chrono::milliseconds(1), now);
  }
}
BENCHMARK(BreakerCall);

void OutlierReport(benchmark::State& state) {
  const Outlier outlier({});
  OutlierState words;
  OutlierState* const upstream[] = {&words};
  TimePoint now(std::chrono::hours(1));
  for (auto _ : state) {
    now += std::chrono::microseconds(100);
    benchmark::DoNotOptimize(outlier.Report(words, upstream, Outcome::kSuccess, now));
  }
}
BENCHMARK(OutlierReport);

}  // namespace
}  // namespace sluice::balancer
