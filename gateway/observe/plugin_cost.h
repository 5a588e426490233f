// What a plugin costs on one route, counted always: a cache line that one worker writes and anybody
// may read, as a row of a SeriesTable. Time is in ticks (base/ticks.h). Reading the clock costs
// several times what an idle plugin does, so the time inside hooks is measured in the first calls
// and then in one of 16, which counts for 16.
#pragma once

#include <cstdint>

#include "gateway/base/ticks.h"
#include "gateway/observe/tally.h"

namespace sluice {

// Of Tally in shared memory, of uint64_t as its sum.
template <typename Word>
struct alignas(64) PluginCostOf {
  Word calls{};
  Word running{};    // ticks inside hooks
  Word suspended{};  // ticks between a suspension and its end
  Word replies{};
  Word suspensions{};
  Word failures{};
  Word shadowed{};  // verdicts that were not followed
};

using PluginCost = PluginCostOf<Tally>;
static_assert(sizeof(PluginCost) == 64 && sizeof(PluginCostOf<uint64_t>) == 64);

// Counts one call of a hook, from here to the end of the scope.
class HookCall {
 public:
  static constexpr uint64_t kAllMeasured = 64;
  static constexpr uint64_t kOneOf = 16;

  explicit HookCall(PluginCost& cost) : cost_(cost) {
    const uint64_t calls = cost.calls.value();
    weight_ = calls < kAllMeasured ? 1 : IsSample(calls) ? kOneOf : 0;
    cost.calls.Set(calls + 1);
    if (weight_ != 0) began_ = ReadTicks();
  }
  ~HookCall() {
    if (weight_ != 0) cost_.running.Add((ReadTicks() - began_) * weight_);
  }
  HookCall(const HookCall&) = delete;
  HookCall& operator=(const HookCall&) = delete;

  // Spread by the golden ratio, so that no rhythm of the traffic meets always the same calls.
  static constexpr bool IsSample(uint64_t call) {
    return static_cast<uint32_t>(call) * 0x9E3779B9U < UINT32_MAX / kOneOf;
  }

 private:
  PluginCost& cost_;
  uint64_t weight_;
  uint64_t began_ = 0;
};

}  // namespace sluice
