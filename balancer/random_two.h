// Power of two choices: two endpoints are drawn at random in proportion to their weights, and the
// one with less load for its weight is taken. Needs to know the load of two endpoints only, not of
// all, and does not send every worker to the same endpoint at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/random.h"

namespace sluice::balancer {

// Draws endpoints in proportion to their weights in constant time (Walker's alias method).
// Immutable, built for the weights as configured.
class WeightedDraw {
 public:
  // Two different endpoints that may be picked, or twice the same one when no other was drawn.
  struct Pair {
    size_t first;
    size_t second;
  };

  // Draws that are tried before all endpoints are looked at (as nginx's `random`).
  static constexpr int kTries = 20;

  static WeightedDraw Build(std::span<const uint32_t> weights);

  // nullopt when no endpoint may be picked. `random` is the caller's state.
  std::optional<Pair> DrawTwo(std::span<const EndpointView> endpoints, uint64_t& random) const;

 private:
  struct Cell {
    uint32_t keep;   // of 2^32: how often the cell means itself
    uint32_t other;  // else this one
  };

  size_t Draw(uint64_t& random) const {
    const uint64_t value = NextRandom(random);
    const size_t at = ((value >> 32) * cells_.size()) >> 32;
    const Cell& cell = cells_.data()[at];
    return static_cast<uint32_t>(value) <= cell.keep ? at : cell.other;
  }

  std::vector<Cell> cells_;
};

// `random` of two choices by `in_flight_of(index)` for the weight; of equals the first drawn is
// taken. Only two counts are asked for, so that the caller need not sum columns of others.
template <typename InFlightOf>
std::optional<size_t> PickRandomTwo(const WeightedDraw& draw,
                                    std::span<const EndpointView> endpoints, uint64_t& random,
                                    const InFlightOf& in_flight_of) {
  const auto pair = draw.DrawTwo(endpoints, random);
  if (!pair) return std::nullopt;
  const auto [first, second] = *pair;
  const uint64_t first_load = uint64_t{in_flight_of(first)} * endpoints[second].weight;
  const uint64_t second_load = uint64_t{in_flight_of(second)} * endpoints[first].weight;
  return second_load < first_load ? second : first;
}

}  // namespace sluice::balancer
