// Consistent hashing on a ring (ketama), exactly as nginx's `hash KEY consistent`: who moves from
// nginx keeps the placement of every key. When a node leaves, only its own keys move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/hash.h"

namespace sluice::balancer {

// Immutable. 8 bytes a point and 4 to 8 for its index.
class KetamaRing {
 public:
  // A node has 160 points for each unit of weight, after the weights are divided by their greatest
  // common divisor, as APISIX does: 100, 100 makes as many points as 1, 1. nginx does not divide,
  // so placement is nginx's when the weights have no common factor. Above `max_points` every node
  // gets its part of that number, rounded down, at least one; then placement is not nginx's either.
  static constexpr uint32_t kPointsPerWeight = 160;
  static constexpr size_t kMaxPoints = 1 << 20;

  // The result of a look-up is an index of `nodes`. nginx makes points from the name of a `server`
  // directive, so a name with several addresses is one node, whose addresses take turns. Refuses
  // more nodes than points.
  static Built<KetamaRing> Build(std::span<const HashedNode> nodes, size_t max_points = kMaxPoints);

  // The node of `key`, or the next on the ring that `may_take(index)` accepts. nullopt when the key
  // is empty or kHashTries further points were refused as well: then the caller uses round robin.
  template <typename MayTake>
  std::optional<size_t> Find(std::string_view key, const MayTake& may_take) const {
    if (key.empty() || points_.empty()) return std::nullopt;
    size_t at = FirstPoint(Crc32(key));
    for (int tries = 0; tries <= kHashTries; ++tries) {
      const size_t node = points_.data()[at].node;
      if (may_take(node)) return node;
      if (++at == points_.size()) at = 0;
    }
    return std::nullopt;
  }

  std::optional<size_t> Pick(std::string_view key, std::span<const EndpointView> endpoints) const {
    return Find(key, [&](size_t i) { return i < endpoints.size() && MayPick(endpoints[i]); });
  }

  size_t points() const { return points_.size(); }

 private:
  struct Point {
    uint32_t hash;
    uint32_t node;
  };

  void AddPoints(std::string_view name, uint32_t node, size_t count);
  void MakeIndex();

  // The first point at or after `hash`, else the first of the ring.
  size_t FirstPoint(uint32_t hash) const {
    size_t at = index_.data()[hash >> shift_];
    while (at < points_.size() && points_.data()[at].hash < hash) ++at;
    return at == points_.size() ? 0 : at;
  }

  std::vector<Point> points_;  // by hash
  // For each value of the upper bits of a hash, the first point that is not below it. There are
  // about as many values as points, so that a look-up reads one or two.
  std::vector<uint32_t> index_;
  int shift_ = 31;
};

}  // namespace sluice::balancer
