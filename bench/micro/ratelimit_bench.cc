// One decision of each limit, on a word and in the table of keys: by one worker, and by two at a
// time (threads:2, as two processes on one host).
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/base/keyed_hash.h"
#include "ratelimit/concurrency_ledger.h"
#include "ratelimit/fixed_window.h"
#include "ratelimit/gcra.h"
#include "ratelimit/key_table.h"
#include "ratelimit/sliding_window.h"

namespace sluice::ratelimit {
namespace {

constexpr TimePoint kStart(std::chrono::hours(50));
KeyHash KeyOf(std::string_view name) {
  const Hash128 hash = KeyedHash::OfProcess().Of(name);
  return {hash.low, hash.high};
}

template <typename L>
void OnOneWord(benchmark::State& state, L limit) {
  static std::atomic<uint64_t> word;
  TimePoint now = kStart;
  for (auto _ : state) {
    now += std::chrono::microseconds(1);
    benchmark::DoNotOptimize(Decide(word, limit, 1, now));
  }
}
BENCHMARK_CAPTURE(OnOneWord, LeakyBucket, LeakyBucket(1e9, 1e9, false))->Threads(1)->Threads(2);
BENCHMARK_CAPTURE(OnOneWord, TokenBucket, TokenBucket(1'000'000, 1e9))->Threads(1)->Threads(2);
BENCHMARK_CAPTURE(OnOneWord, FixedWindow, FixedWindow(1U << 28, std::chrono::seconds(1)))
    ->Threads(1)
    ->Threads(2);
BENCHMARK_CAPTURE(OnOneWord, SlidingWindow, SlidingWindow(1U << 22, std::chrono::seconds(1)))
    ->Threads(1)
    ->Threads(2);

void Hash(benchmark::State& state) {
  std::string key = "203.0.113.77";
  for (auto _ : state) benchmark::DoNotOptimize(KeyOf(key));
}
BENCHMARK(Hash);

// A table that holds as many keys as it is made for.
struct Filled {
  explicit Filled(uint64_t keys)
      : size(KeyTable::SizeFor(keys)),
        memory(static_cast<std::byte*>(::operator new(size, std::align_val_t(1 << 21)))),
        table((std::fill_n(memory, size, std::byte{0}), std::span(memory, size))) {
    for (uint64_t i = 0; i < keys; ++i) {
      names.push_back("10." + std::to_string(i >> 16 & 255) + "." + std::to_string(i >> 8 & 255) +
                      "." + std::to_string(i & 255));
      table.Decide(KeyOf(names[i]), FixedWindow(1U << 28, std::chrono::hours(1)), 1, kStart);
    }
    std::shuffle(names.begin(), names.end(), std::mt19937_64(1));
  }
  ~Filled() { ::operator delete(memory, std::align_val_t(1 << 21)); }
  Filled(const Filled&) = delete;

  size_t size;
  std::byte* memory;
  KeyTable table;
  std::vector<std::string> names;
};

// Hash and decision for keys in random order, each thread its own part of the order.
void Keys(benchmark::State& state) {
  const auto keys = static_cast<uint64_t>(state.range(0));
  static std::unique_ptr<Filled> filled;
  if (state.thread_index() == 0) filled = std::make_unique<Filled>(keys);
  size_t i = 0;
  const FixedWindow limit(1U << 28, std::chrono::hours(1));
  for (auto _ : state) {
    if (i == 0) i = keys / 2 * static_cast<size_t>(state.thread_index());
    benchmark::DoNotOptimize(filled->table.Decide(KeyOf(filled->names[i]), limit, 1, kStart));
    if (++i == keys) i = 0;
  }
  if (state.thread_index() != 0) return;
  state.counters["bytes_a_key"] = static_cast<double>(filled->size) / static_cast<double>(keys);
  state.counters["evicted"] = static_cast<double>(filled->table.evicted());
}
BENCHMARK(Keys)->Arg(1000)->Arg(1'000'000)->Threads(1)->Threads(2)->UseRealTime();

// All threads decide about one key.
void HotKey(benchmark::State& state) {
  static std::unique_ptr<Filled> filled;
  if (state.thread_index() == 0) filled = std::make_unique<Filled>(1000);
  const LeakyBucket limit(1e6, 100, true);
  TimePoint now = kStart;
  for (auto _ : state) {
    now += std::chrono::nanoseconds(100);
    benchmark::DoNotOptimize(filled->table.Decide(KeyOf("203.0.113.77"), limit, 1, now));
  }
}
BENCHMARK(HotKey)->Threads(1)->Threads(2)->UseRealTime();

// Every request has a key of its own, in a table that is full of others in use.
void NewKeys(benchmark::State& state) {
  static std::unique_ptr<Filled> filled;
  if (state.thread_index() == 0) filled = std::make_unique<Filled>(1'000'000);
  uint64_t number = static_cast<uint64_t>(state.thread_index()) << 32;
  const FixedWindow limit(100, std::chrono::hours(1));
  for (auto _ : state) {
    const uint64_t bytes = ++number;
    const std::string_view key(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    benchmark::DoNotOptimize(filled->table.Decide(KeyOf(key), limit, 1, kStart));
  }
}
BENCHMARK(NewKeys)->Threads(1)->Threads(2)->UseRealTime();

void EnterAndLeave(benchmark::State& state) {
  Filled filled(1000);
  std::vector<std::byte> memory(ConcurrencyLedger::SizeFor(100));
  ConcurrencyLedger ledger(memory);
  const ConcurrencyLimit limit({.places = 100});
  for (auto _ : state) {
    const auto entered = ledger.Enter(filled.table, KeyOf("203.0.113.77"), limit, kStart);
    ledger.Leave(filled.table, entered->ticket, limit, std::chrono::milliseconds(1));
  }
}
BENCHMARK(EnterAndLeave);

}  // namespace
}  // namespace sluice::ratelimit
