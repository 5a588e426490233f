#include "balancer/least_conn.h"

#include <algorithm>
#include <array>
#include <limits>

#include "balancer/lanes.h"

namespace sluice::balancer {
namespace {

constexpr float kNone = std::numeric_limits<float>::infinity();
// Division and product round by 2^-24 each; fractions of numbers below 1024 are 2^-20 apart.
constexpr float kTieTolerance = 1 + 0x1p-21F;
// Places of the rotation that are tried before all endpoints are looked at once more. When much is
// tied, as it is with little load, one of the first few is.
constexpr int kRotationTries = 12;

// What every endpoint has in flight for each unit of weight, four at a time; NaN or infinity for
// one that may not be picked.
class Loads {
 public:
  Loads(std::span<const EndpointView> endpoints, std::span<const uint32_t> in_flight)
      : endpoints_(endpoints), in_flight_(in_flight) {
    FloatLanes lowest = {kNone, kNone, kNone, kNone};
    FloatLanes weights = {};
    const size_t whole = endpoints.size() / kLanes * kLanes;
    for (size_t i = 0; i < whole; i += kLanes) {
      const Block block = MakeBlock(endpoints.data() + i, in_flight.data() + i);
      if (i < kKept) std::memcpy(kept_.data() + i, &block.load, sizeof block.load);
      lowest = block.load < lowest ? block.load : lowest;
      weights += block.weight;
    }
    if (whole < endpoints.size()) {
      const Block block = TailBlock(whole);
      lowest = block.load < lowest ? block.load : lowest;
      weights += block.weight;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lowest_ = std::min(lowest_, lowest[lane]);
      total_weight_ += weights[lane];
    }
  }

  float lowest() const { return lowest_; }  // kNone when none may be picked
  float total_weight() const { return total_weight_; }

  // Calls `add(index)` for every endpoint whose load is at most `bound`.
  template <typename Add>
  void ForEachUpTo(float bound, Add add) const {
    for (size_t i = 0; i < endpoints_.size(); i += kLanes) {
      const IntLanes low = Lanes(i) <= bound;
      uint64_t halves[2];
      std::memcpy(halves, &low, sizeof halves);
      if ((halves[0] | halves[1]) == 0) continue;
      for (size_t lane = 0; lane < kLanes; ++lane) {
        if (low[lane] != 0) add(i + lane);
      }
    }
  }

 private:
  // So many are kept for the second look, the loads of others are worked out again.
  static constexpr size_t kKept = 256;

  struct Block {
    FloatLanes load;
    FloatLanes weight;
  };

  static Block MakeBlock(const EndpointView* endpoints, const uint32_t* in_flight) {
    const ViewLanes views = LoadViews(endpoints);
    // Weight 0 gives NaN or infinity, which is never less.
    const FloatLanes load = ToFloats(LoadLanes(in_flight)) / views.weight;
    const auto or_nan = reinterpret_cast<IntLanes>(load) | views.ineligible;
    return {reinterpret_cast<FloatLanes>(or_nan), views.weight};
  }

  // The last endpoints, filled up with some that may not be picked.
  Block TailBlock(size_t begin) const {
    std::array<EndpointView, kLanes> endpoints;
    std::array<uint32_t, kLanes> in_flight = {};
    endpoints.fill({0, false});
    for (size_t i = begin; i < endpoints_.size(); ++i) {
      endpoints[i - begin] = endpoints_[i];
      in_flight[i - begin] = in_flight_[i];
    }
    return MakeBlock(endpoints.data(), in_flight.data());
  }

  FloatLanes Lanes(size_t i) const {
    if (i + kLanes > endpoints_.size()) return TailBlock(i).load;
    if (i >= kKept) return MakeBlock(endpoints_.data() + i, in_flight_.data() + i).load;
    FloatLanes lanes;
    std::memcpy(&lanes, kept_.data() + i, sizeof lanes);
    return lanes;
  }

  std::span<const EndpointView> endpoints_;
  std::span<const uint32_t> in_flight_;
  float lowest_ = kNone;
  float total_weight_ = 0;
  alignas(16) std::array<float, kKept> kept_;  // written before it is read
};

// Smooth weighted round robin among those that are added.
class TiedRotation {
 public:
  // A state owes at most two turns of `total_weight`, as in PickRoundRobin.
  TiedRotation(std::span<RoundRobinState> states, float total_weight)
      : states_(states), limit_(2 * static_cast<int64_t>(total_weight) + 2) {}

  void Add(size_t i, uint32_t weight) {
    int64_t& current = states_[i].current;
    current = std::clamp(current, -limit_, limit_) + weight;
    total_ += weight;
    if (!best_ || current > best_current_) {
      best_ = i;
      best_current_ = current;
    }
  }

  std::optional<size_t> Take() {
    if (best_) states_[*best_].current -= total_;
    return best_;
  }

 private:
  std::span<RoundRobinState> states_;
  int64_t limit_;
  int64_t total_ = 0;
  int64_t best_current_ = 0;
  std::optional<size_t> best_;
};

}  // namespace

std::optional<size_t> PickLeastConn(std::span<const EndpointView> endpoints,
                                    std::span<const uint32_t> in_flight, TieBreak ties) {
  const Loads loads(endpoints, in_flight);
  if (loads.lowest() == kNone) return std::nullopt;
  const float bound = loads.lowest() * kTieTolerance;

  for (int tries = 0; tries < kRotationTries; ++tries) {
    const auto next = ties.rotation.Next(endpoints.size(), ties.cursor);
    if (!next) break;
    const EndpointView& endpoint = endpoints[*next];
    const auto load = static_cast<float>(in_flight[*next]);
    if (MayPick(endpoint) && load <= bound * static_cast<float>(endpoint.weight)) return next;
  }

  TiedRotation tied(ties.states, loads.total_weight());
  loads.ForEachUpTo(bound, [&](size_t i) { tied.Add(i, endpoints[i].weight); });
  return tied.Take();
}

}  // namespace sluice::balancer
