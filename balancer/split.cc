#include "balancer/split.h"

#include <algorithm>
#include <numeric>

#include "balancer/hash.h"

namespace sluice::balancer {
namespace {

constexpr uint64_t kWhole = uint64_t{1} << 32;

struct Range {
  uint64_t begin;
  uint64_t end;
};

struct Taken : Range {
  size_t arm;
};

// Where the n-th arm begins: pairs of arms share an anchor and grow away from it. The anchors are 0
// (which is also 1), 1/2, 1/4, 3/4, 1/8 …: bits of the pair's number reversed.
struct Anchor {
  uint64_t at;
  bool upwards;
};

Anchor AnchorOf(size_t n) {
  uint64_t at = 0;
  for (uint64_t pair = n / 2, bit = kWhole / 2; pair > 0; pair >>= 1, bit >>= 1) {
    if ((pair & 1) != 0) at |= bit;
  }
  return {at, n % 2 == 0};
}

// What `taken` (sorted) leaves free, sorted.
std::vector<Range> FreeRanges(std::span<const Taken> taken) {
  std::vector<Range> free;
  uint64_t at = 0;
  for (const Taken& range : taken) {
    if (range.begin > at) free.push_back({at, range.begin});
    at = range.end;
  }
  if (at < kWhole) free.push_back({at, kWhole});
  return free;
}

// The free ranges in the order in which an arm meets them that starts at `anchor`.
std::vector<Range> FromAnchor(std::span<const Range> free, Anchor anchor) {
  std::vector<Range> before;
  std::vector<Range> after;
  for (const Range& range : free) {
    const uint64_t cut = std::clamp(anchor.at, range.begin, range.end);
    if (range.begin < cut) before.push_back({range.begin, cut});
    if (cut < range.end) after.push_back({cut, range.end});
  }
  if (!anchor.upwards) {
    std::reverse(before.begin(), before.end());
    std::reverse(after.begin(), after.end());
    std::swap(before, after);
  }
  after.insert(after.end(), before.begin(), before.end());
  return after;
}

void Take(std::vector<Taken>& taken, size_t arm, Anchor anchor, uint64_t width) {
  const std::vector<Range> free = FreeRanges(taken);
  for (const Range& range : FromAnchor(free, anchor)) {
    const uint64_t part = std::min(width, range.end - range.begin);
    if (part == 0) break;
    const uint64_t begin = anchor.upwards ? range.begin : range.end - part;
    taken.push_back({{begin, begin + part}, arm});
    width -= part;
  }
  std::sort(taken.begin(), taken.end(),
            [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
}

}  // namespace

Built<Split> Split::Build(std::span<const uint32_t> weights, size_t default_arm,
                          std::string_view name) {
  if (weights.empty() || weights.size() > kMaxArms) {
    return "expected 1 to " + std::to_string(kMaxArms) + " arms, found " +
           std::to_string(weights.size());
  }
  if (default_arm >= weights.size()) {
    return "expected the default arm among " + std::to_string(weights.size()) + ", found number " +
           std::to_string(default_arm);
  }
  Split split;
  split.default_arm_ = default_arm;
  split.seed_ = HashBytes(name);
  for (const uint32_t weight : weights) split.arms_.push_back({weight, true});
  const uint64_t total = std::accumulate(weights.begin(), weights.end(), uint64_t{0});
  std::vector<Taken> taken;
  for (size_t arm = 0, n = 0; arm < weights.size() && total > 0; ++arm) {
    if (arm == default_arm) continue;
    // In whole numbers, rounded down: never more than all together. Below 2^64.
    const uint64_t width = weights[arm] * kWhole / total;
    Take(taken, arm, AnchorOf(n++), width);
  }
  for (const Range& range : FreeRanges(taken)) taken.push_back({range, default_arm});
  std::sort(taken.begin(), taken.end(),
            [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
  for (const Taken& range : taken) split.pieces_.push_back({range.end, range.arm});
  return split;
}

std::optional<size_t> Split::Of(std::string_view key) const {
  if (key.empty()) return std::nullopt;
  const uint64_t point = HashBytes(key, seed_) >> 32;
  const auto piece =
      std::upper_bound(pieces_.begin(), pieces_.end(), point,
                       [](uint64_t value, const Piece& one) { return value < one.end; });
  return piece->arm;
}

size_t Split::Next(std::span<RoundRobinState> states) const {
  return PickRoundRobin(arms_, states).value_or(default_arm_);
}

double Split::Share(size_t arm) const {
  uint64_t width = 0;
  uint64_t begin = 0;
  for (const Piece& piece : pieces_) {
    if (piece.arm == arm) width += piece.end - begin;
    begin = piece.end;
  }
  return static_cast<double>(width) / static_cast<double>(kWhole);
}

}  // namespace sluice::balancer
