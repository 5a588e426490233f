// Splits requests over weighted arms (traffic-split, canary): by turns, or sticky by key, so that a
// user stays on his arm in all workers and over reloads, and raising an arm's share moves only new
// users to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/round_robin.h"

namespace sluice::balancer {

// Immutable.
//
// Keys are hashed to points of [0, 1). Every arm but the default one has an anchor and grows from
// it in one direction, over points that no earlier arm has; the default arm has what is left.
//
//     0                 1/4                1/2                3/4                 1
//     arm 0 →   ← arm 5 | arm 4 →  ← arm 3 | arm 2 →  ← arm 7 | arm 6 →     ← arm 1
//
// Hence: when an arm's share grows at the cost of the default arm, only users of the default arm
// move, and only to that arm; when it shrinks they move back. With one or two arms besides the
// default this always holds. With more it holds while no arm reaches its neighbour (four arms:
// while neighbours together have at most half), and no fixed rule can do better: two arms that grow
// to the whole must start at opposite ends, and there are only two. Where an arm reaches a
// neighbour, the later one in the list gives way to the next free points.
//
// An arm is known by its place in the list: set its weight to 0 rather than take it out.
class Split {
 public:
  static constexpr size_t kMaxArms = 256;

  // `weights` of all arms; `default_arm` is the one that has no upstream of its own (the route's),
  // else the last. All zero: the default arm takes everything. `name` is the stable name of the
  // split: users who are early in one are not early in all. Refuses no arm, more than kMaxArms, and
  // a default arm that is none of them.
  static Built<Split> Build(std::span<const uint32_t> weights, size_t default_arm,
                            std::string_view name);

  // The arm of `key`; of an empty key nullopt: the caller uses Next.
  std::optional<size_t> Of(std::string_view key) const;

  // The next arm by smooth weighted round robin. `states` (one for each arm) are the caller's.
  size_t Next(std::span<RoundRobinState> states) const;

  // How much of [0, 1) an arm has.
  double Share(size_t arm) const;

 private:
  // Points are 32 bits. A piece reaches from where the one before it ends.
  struct Piece {
    uint64_t end;
    size_t arm;
  };

  std::vector<EndpointView> arms_;
  std::vector<Piece> pieces_;
  size_t default_arm_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace sluice::balancer
