// What a plugin costs on one route, counted always: a cache line that one worker writes and anybody
// may read. Time is in ticks of the processor's counter, which is read once between two neighbours.
#pragma once

#include <atomic>
#include <cstdint>

#include <immintrin.h>

namespace sluice {

// The processor's own counter: constant in rate and equal on all processors of the machines that
// this is built for (x86-64 with an invariant TSC); 7 ns, where the kernel's clock takes 25.
inline uint64_t ReadTicks() { return __rdtsc(); }
// Measured once, between two moments of which the first is the start of the process.
double TicksPerNanosecond();

struct alignas(64) PluginCost {
  std::atomic<uint64_t> calls = 0;
  std::atomic<uint64_t> running = 0;    // ticks inside hooks
  std::atomic<uint64_t> suspended = 0;  // ticks between a suspension and its end
  std::atomic<uint64_t> replies = 0;
  std::atomic<uint64_t> suspensions = 0;
  std::atomic<uint64_t> failures = 0;
  std::atomic<uint64_t> shadowed = 0;  // verdicts that were not followed

  // By the one writer.
  static void Add(std::atomic<uint64_t>& counter, uint64_t count) {
    counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
};

}  // namespace sluice
