// One pick among 100 endpoints by each algorithm, as a request makes it.
#include <array>
#include <vector>

#include <benchmark/benchmark.h>

#include "balancer/least_conn.h"
#include "balancer/random.h"
#include "balancer/rotation.h"

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

}  // namespace
}  // namespace sluice::balancer
