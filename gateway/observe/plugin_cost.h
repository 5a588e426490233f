// What a plugin costs on one route, counted always: a cache line that one worker writes and anybody
// may read, as a row of a SeriesTable. Time is in ticks (base/ticks.h), which are read once between
// two neighbours.
#pragma once

#include <cstdint>

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

}  // namespace sluice
