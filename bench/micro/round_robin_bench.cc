// One pick of smooth weighted round robin, by the number of endpoints.
#include <vector>

#include <benchmark/benchmark.h>

#include "balancer/round_robin.h"

namespace sluice::balancer {
namespace {

void PickAmong(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  std::vector<EndpointView> endpoints(count);
  for (size_t i = 0; i < count; ++i) endpoints[i].weight = static_cast<uint32_t>(1 + i % 3);
  std::vector<RoundRobinState> states(count);
  for (auto _ : state) benchmark::DoNotOptimize(PickRoundRobin(endpoints, states));
}
BENCHMARK(PickAmong)->Arg(1)->Arg(3)->Arg(10)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace sluice::balancer
