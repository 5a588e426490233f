#include "balancer/random_two.h"

#include <limits>
#include <numeric>

namespace sluice::balancer {
namespace {

// One endpoint in proportion to its weight by looking at all: for when few are left.
std::optional<size_t> DrawByScan(std::span<const EndpointView> endpoints, uint64_t& random) {
  uint64_t total = 0;
  for (const EndpointView& endpoint : endpoints) {
    if (MayPick(endpoint)) total += endpoint.weight;
  }
  if (total == 0) return std::nullopt;
  uint64_t left = ScaleTo(NextRandom(random), total);
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (!MayPick(endpoints[i])) continue;
    if (left < endpoints[i].weight) return i;
    left -= endpoints[i].weight;
  }
  return std::nullopt;
}

}  // namespace

WeightedDraw WeightedDraw::Build(std::span<const uint32_t> weights) {
  WeightedDraw draw;
  const uint64_t total = std::accumulate(weights.begin(), weights.end(), uint64_t{0});
  if (total == 0) return draw;
  // Each cell has room for the mean. What is below it is filled up by one that is above it.
  const size_t count = weights.size();
  std::vector<double> share(count);
  std::vector<uint32_t> below;
  std::vector<uint32_t> above;
  for (uint32_t i = 0; i < count; ++i) {
    share[i] =
        static_cast<double>(weights[i]) * static_cast<double>(count) / static_cast<double>(total);
    (share[i] < 1 ? below : above).push_back(i);
  }
  draw.cells_.resize(count);
  for (uint32_t i = 0; i < count; ++i) draw.cells_[i] = {std::numeric_limits<uint32_t>::max(), i};
  while (!below.empty() && !above.empty()) {
    const uint32_t small = below.back();
    const uint32_t large = above.back();
    below.pop_back();
    draw.cells_[small] = {static_cast<uint32_t>(share[small] * 0x1p32), large};
    share[large] -= 1 - share[small];
    if (share[large] >= 1) continue;
    above.pop_back();
    below.push_back(large);
  }
  return draw;
}

std::optional<WeightedDraw::Pair> WeightedDraw::DrawTwo(std::span<const EndpointView> endpoints,
                                                        uint64_t& random) const {
  std::optional<size_t> first;
  for (int tries = 0; tries < kTries && cells_.size() == endpoints.size(); ++tries) {
    if (cells_.empty()) break;
    const size_t drawn = Draw(random);
    if (drawn == first || !MayPick(endpoints[drawn])) continue;
    if (first) return Pair{*first, drawn};
    first = drawn;
  }
  // Nearly all that is drawn may not be picked, or weighs so little that the first is the choice.
  if (first) return Pair{*first, *first};
  first = DrawByScan(endpoints, random);
  if (!first) return std::nullopt;
  return Pair{*first, DrawByScan(endpoints, random).value_or(*first)};
}

}  // namespace sluice::balancer
