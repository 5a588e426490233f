// What plugins cost that do nothing: the boundary between two of them, which reads the clock and
// counts, and a request with five of them against one with none.
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/base/ticks.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/plugin/chain_run.h"
#include "gateway/proxy/plugin_services.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {
namespace {

class Idle final : public Plugin {
 public:
  Verdict OnAccess(RequestContext&) const override { return Verdict::kContinue; }
};

class Fixture final : public ChainRun::Host {
 public:
  explicit Fixture(size_t plugins) {
    kind_.traits = {.name = "idle", .summary = ""};
    kind_.phases = static_cast<uint8_t>(1U << static_cast<unsigned>(Phase::kAccess));
    std::vector<SeriesTable::Wanted> wanted;
    for (size_t i = 0; i < plugins; ++i) wanted.push_back({.labels = std::to_string(i)});
    const auto rows = slabs_->plugins().Acquire(wanted, 100);
    for (size_t i = 0; i < plugins; ++i) {
      PluginInstance& instance = instances_.emplace_back();
      instance.kind = &kind_;
      instance.plugin = std::make_unique<Idle>();
      cells_.push_back(&slabs_->own_cost(rows[i]));
    }
    for (size_t i = 0; i < plugins; ++i) {
      chained_.push_back({&instances_[i], static_cast<uint32_t>(i), 0});
    }
    chain_ = MakeChain({}, chained_, chain_arena_);
    view_.head = &head_;
  }

  ChainRun::Result Run() {
    run_.Begin(chain_, {.view = view_,
                        .head = head_,
                        .arena = arena_,
                        .services = context_.plugin_services,
                        .suspensions = context_.suspensions,
                        .costs = cells_});
    const ChainRun::Result result = run_.RunRequest();
    run_.End();
    return result;
  }

  void OnChainResumed(ChainRun::Result) override {}
  void SetTimeLimit(MonoTime) override {}
  std::shared_ptr<SubRequestSender> sender() override { return nullptr; }

 private:
  std::unique_ptr<Loop> loop_ = *Loop::Make();
  std::shared_ptr<MetricSlabs> slabs_ = *MetricSlabs::Make(1);
  ProxyContext context_{*loop_, 0, slabs_};
  PluginKind kind_;
  std::vector<PluginInstance> instances_;
  std::vector<PluginCost*> cells_;
  std::vector<ChainPlugin> chained_;
  Arena arena_, chain_arena_;
  Chain chain_;
  RequestHead head_;
  RequestView view_;
  ChainRun run_{*this};
};

void Ticks(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(ReadTicks());
}
BENCHMARK(Ticks);

// A boundary is what one more plugin adds.
void IdlePlugins(benchmark::State& state) {
  Fixture fixture(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(fixture.Run());
}
BENCHMARK(IdlePlugins)->Arg(0)->Arg(1)->Arg(5)->Arg(21);

// What is counted of each request.
void CountRequest(benchmark::State& state) {
  const auto slabs = *MetricSlabs::Make(1);
  const size_t routes = static_cast<size_t>(state.range(0));
  std::vector<SeriesTable::Wanted> wanted;
  for (size_t i = 0; i < routes; ++i) wanted.push_back({.labels = std::to_string(i)});
  const auto rows = slabs->traffic().Acquire(wanted, MetricSlabs::kTrafficRows);
  ProcessCounters& counters = slabs->own();
  const TickScale scale = slabs->scale();
  size_t next = 0;
  int64_t latency = 0;
  for (auto _ : state) {
    next = (next + 7919) % routes;
    latency = (latency + 377'777) % 40'000'000;
    const uint64_t begin = ReadTicks();
    Traffic<Tally>& traffic = slabs->own_traffic(rows[next]);
    counters.present.exchanges.Add();
    counters.present.exchanges.Subtract();
    counters.ends[0].Add();
    counters.upstream_attempts.Add();
    traffic.bytes_received.Add(100);
    traffic.bytes_sent.Add(200);
    traffic.statuses[StatusSlot(200)].Add();
    const Duration own = scale.Between(begin, ReadTicks());
    const Duration total = own + Duration(latency);
    traffic.request.Count(total);
    traffic.upstream.Count(total - own);
    traffic.overhead.Count(own);
  }
}
BENCHMARK(CountRequest)->Arg(1)->Arg(100)->Arg(8000);

}  // namespace
}  // namespace sluice
