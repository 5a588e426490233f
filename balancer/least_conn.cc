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
constexpr int kRotationTries = 4;

struct Lowest {
  float load = kNone;      // in flight for each unit of weight
  float total_weight = 0;  // of all, to bound what a rotation may owe
};

// The columns, padded to whole lanes at the end by endpoints that may not be picked.
class Columns {
 public:
  Columns(std::span<const EndpointView> endpoints, std::span<const uint32_t> in_flight)
      : endpoints_(endpoints.data()),
        in_flight_(in_flight.data()),
        whole_(endpoints.size() / kLanes * kLanes) {
    tail_endpoints_.fill({0, false});
    for (size_t i = whole_; i < endpoints.size(); ++i) {
      tail_endpoints_[i - whole_] = endpoints[i];
      tail_in_flight_[i - whole_] = in_flight[i];
    }
    end_ = whole_ + (endpoints.size() > whole_ ? kLanes : 0);
  }

  size_t end() const { return end_; }
  ViewLanes Views(size_t i) const {
    return LoadViews(i < whole_ ? endpoints_ + i : tail_endpoints_.data());
  }
  FloatLanes InFlight(size_t i) const {
    return ToFloats(LoadLanes(i < whole_ ? in_flight_ + i : tail_in_flight_.data()));
  }

 private:
  const EndpointView* endpoints_;
  const uint32_t* in_flight_;
  size_t whole_;
  size_t end_ = 0;
  std::array<EndpointView, kLanes> tail_endpoints_;
  std::array<uint32_t, kLanes> tail_in_flight_ = {};
};

Lowest FindLowest(const Columns& columns) {
  FloatLanes lowest = {kNone, kNone, kNone, kNone};
  FloatLanes weights = {};
  for (size_t i = 0; i < columns.end(); i += kLanes) {
    const ViewLanes views = columns.Views(i);
    // Weight 0 gives NaN or infinity, which is never less.
    const FloatLanes load = columns.InFlight(i) / views.weight;
    const IntLanes less = (load < lowest) & views.eligible;
    lowest = less ? load : lowest;
    weights += views.weight;
  }
  Lowest out;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    out.load = std::min(out.load, lowest[lane]);
    out.total_weight += weights[lane];
  }
  return out;
}

// Smooth weighted round robin among the endpoints whose load is at most `load`.
class TiedRotation {
 public:
  TiedRotation(std::span<RoundRobinState> states, float total_weight)
      : states_(states), limit_(2 * static_cast<int64_t>(total_weight) + 2) {}

  void Add(size_t i, uint32_t weight) {
    // As in PickRoundRobin: what was left by other weights or another set is cut.
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
  const Columns columns(endpoints, in_flight);
  const Lowest lowest = FindLowest(columns);
  if (lowest.load == kNone) return std::nullopt;
  const float bound = lowest.load * kTieTolerance;

  for (int tries = 0; tries < kRotationTries; ++tries) {
    const auto next = ties.rotation.Next(endpoints.size(), ties.cursor);
    if (!next) break;
    const EndpointView& endpoint = endpoints[*next];
    const auto load = static_cast<float>(in_flight[*next]);
    if (MayPick(endpoint) && load <= bound * static_cast<float>(endpoint.weight)) return next;
  }

  TiedRotation tied(ties.states, lowest.total_weight);
  for (size_t i = 0; i < columns.end(); i += kLanes) {
    const ViewLanes views = columns.Views(i);
    const IntLanes is_tied =
        (columns.InFlight(i) <= bound * views.weight) & views.eligible & (views.weight > 0.0F);
    uint64_t halves[2];
    std::memcpy(halves, &is_tied, sizeof halves);
    if ((halves[0] | halves[1]) == 0) continue;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (is_tied[lane] != 0) tied.Add(i + lane, endpoints[i + lane].weight);
    }
  }
  return tied.Take();
}

}  // namespace sluice::balancer
