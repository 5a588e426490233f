// Smooth weighted round robin in a few nanoseconds: the sequence of one whole turn is worked out
// when the endpoints are loaded, and a pick reads its next entry. The turns of an endpoint that may
// not be picked now are shared out by the scan of round_robin.h, so that shares stay right.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/round_robin.h"

namespace sluice::balancer {

class Rotation {
 public:
  // A turn has the weights' sum over their greatest common divisor entries of 2 bytes. When that is
  // more than kMaxLength, or working it out would take more than kMaxSteps, there is no sequence
  // and every pick is a scan.
  static constexpr size_t kMaxLength = 16'384;
  static constexpr size_t kMaxSteps = 4'000'000;

  // For the weights as configured; while weights move (slow start), use PickRoundRobin alone.
  static Rotation Build(std::span<const uint32_t> weights);

  // Where a new worker begins, so that not all send their first request to the same endpoint.
  uint64_t StartCursor(uint64_t seed) const;

  // The next endpoint; nullopt when none may be picked. `cursor` and `states` are the caller's;
  // both may come from another table (after a reload). No allocation.
  std::optional<size_t> Pick(std::span<const EndpointView> endpoints,
                             std::span<RoundRobinState> states, uint64_t& cursor) const {
    const std::optional<size_t> next = Next(endpoints.size(), cursor);
    if (next && MayPick(endpoints[*next])) return next;
    return PickRoundRobin(endpoints, states);
  }

  // The endpoint whose turn it is, whether or not it may be picked; nullopt when there is no
  // sequence, or it was made for another number of endpoints than `count`.
  std::optional<size_t> Next(size_t count, uint64_t& cursor) const {
    if (count != endpoints_ || sequence_.empty()) return std::nullopt;
    if (cursor >= sequence_.size()) cursor = 0;
    return sequence_.data()[cursor++];
  }

  // Entries of one turn; 0 when every pick is a scan.
  size_t length() const { return sequence_.size(); }

 private:
  size_t endpoints_ = 0;
  std::vector<uint16_t> sequence_;
};

}  // namespace sluice::balancer
