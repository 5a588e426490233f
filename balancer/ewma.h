// Peak-EWMA (Finagle): endpoints are chosen by how long they take to answer. A slower answer counts
// at once, a faster one gradually (exponentially with time constant tau); without answers the cost
// decays, so that an endpoint that was slow is tried again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "balancer/balancer.h"
#include "balancer/random_two.h"
#include "balancer/time.h"

namespace sluice::balancer {

// What is kept of one endpoint; zero at the start. May lie in memory that several processes share:
// the upper half is the cost in microseconds as a float, the lower half the time of it in
// milliseconds, modulo 2^32 (seven weeks). Written without a read-modify-write: when two workers
// observe at the same moment one of both observations is lost, which a mean can bear.
struct EwmaState {
  std::atomic<uint64_t> word = 0;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

class Ewma {
 public:
  static constexpr milliseconds kDefaultTau = std::chrono::seconds(10);

  explicit Ewma(milliseconds tau = kDefaultTau)
      : per_millisecond_(-1.0F / static_cast<float>(tau.count() > 0 ? tau.count() : 1)) {}

  // An answer (its head) came after `latency`.
  void Observe(EwmaState& state, nanoseconds latency, TimePoint now) const;

  // The cost now, in microseconds; 0 when nothing was ever observed.
  float Cost(const EwmaState& state, TimePoint now) const;

  // A new endpoint starts with the mean cost of the others, MeanCost; 0 leaves it unobserved.
  void Seed(EwmaState& state, float cost, TimePoint now) const;

  // The mean cost of the `count` endpoints that were observed, 0 when none was. `state_of(index)`
  // gives a const EwmaState&.
  template <typename StateOf>
  float MeanCost(size_t count, TimePoint now, const StateOf& state_of) const {
    float sum = 0;
    size_t observed = 0;
    for (size_t i = 0; i < count; ++i) {
      const float cost = Cost(state_of(i), now);
      sum += cost;
      observed += cost > 0 ? 1 : 0;
    }
    return observed == 0 ? 0 : sum / static_cast<float>(observed);
  }

  // Of a pair that WeightedDraw::DrawTwo gave, the one with the lower
  // cost * (in flight + 1) / weight; one that was never observed is taken to cost what the other
  // does. `in_flight_of(index)` counts the whole host.
  template <typename StateOf, typename InFlightOf>
  size_t Lower(WeightedDraw::Pair pair, std::span<const EndpointView> endpoints, TimePoint now,
               const StateOf& state_of, const InFlightOf& in_flight_of) const {
    const auto [first, second] = pair;
    if (first == second) return first;
    float first_cost = Cost(state_of(first), now);
    float second_cost = Cost(state_of(second), now);
    if (first_cost == 0) first_cost = second_cost == 0 ? 1 : second_cost;
    if (second_cost == 0) second_cost = first_cost;
    const float first_load = first_cost * (static_cast<float>(in_flight_of(first)) + 1) *
                             static_cast<float>(endpoints[second].weight);
    const float second_load = second_cost * (static_cast<float>(in_flight_of(second)) + 1) *
                              static_cast<float>(endpoints[first].weight);
    return second_load < first_load ? second : first;
  }

 private:
  float per_millisecond_;
};

}  // namespace sluice::balancer
