// One decision among 1,000 to 100,000 ranges, as ip-restriction makes it for each request. Half of
// the addresses lie in a range, and they come in no order, so that bisection misses the caches as
// it would in traffic.
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/base/cidr_set.h"

namespace sluice {
namespace {

struct Question {
  std::vector<Cidr> ranges;
  std::vector<IpAddress> addresses;
};

Question MakeQuestion(size_t count, bool v4) {
  std::mt19937 random(1);
  Question out;
  for (size_t i = 0; i < count; ++i) {
    uint8_t bytes[16];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (!v4) bytes[0] = 0x20;  // as the addresses that are in use
    const IpAddress address = IpAddress::FromBytes(bytes, v4 ? 4 : 16);
    const size_t prefix = v4 ? 16 + random() % 17 : 32 + random() % 33;
    out.ranges.push_back(Cidr::Make(address.ToString() + "/" + std::to_string(prefix)).value());
    out.addresses.push_back(address);
    bytes[1] ^= static_cast<uint8_t>(random());
    out.addresses.push_back(IpAddress::FromBytes(bytes, v4 ? 4 : 16));
  }
  std::shuffle(out.addresses.begin(), out.addresses.end(), random);
  return out;
}

void Decide(benchmark::State& state, bool v4) {
  const Question question = MakeQuestion(static_cast<size_t>(state.range(0)), v4);
  const CidrSet set(question.ranges);
  size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(set.Contains(question.addresses[at]));
    if (++at == question.addresses.size()) at = 0;
  }
  state.counters["bytes/range"] =
      static_cast<double>(set.memory()) / static_cast<double>(question.ranges.size());
}
BENCHMARK_CAPTURE(Decide, ipv4, true)->RangeMultiplier(10)->Range(1000, 100'000);
BENCHMARK_CAPTURE(Decide, ipv6, false)->RangeMultiplier(10)->Range(1000, 100'000);

void Build(benchmark::State& state, bool v4) {
  const Question question = MakeQuestion(100'000, v4);
  for (auto _ : state) benchmark::DoNotOptimize(CidrSet(question.ranges).size());
}
BENCHMARK_CAPTURE(Build, ipv4, true)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, ipv6, false)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice
