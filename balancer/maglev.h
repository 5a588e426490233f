// Maglev hashing (Eisenbud and others, NSDI 2016): a table of places that the nodes claim in turns,
// so that each has its share to within a place. A look-up is one read. When a node leaves, few keys
// of others move too (0.1 to 0.6 %): chosen over ketama for even load with many nodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/hash.h"
#include "balancer/random.h"

namespace sluice::balancer {

// Immutable; 2 bytes a place, 128 KiB by default.
class MaglevTable {
 public:
  static constexpr size_t kDefaultSize = 65'537;
  static constexpr size_t kMaxSize = 5'000'011;

  // `size` must be a prime of at most kMaxSize; there must be no more nodes with a weight than
  // places, and fewer than 65,535. Every such node gets a place. The order of
  // `nodes` does not matter, their names must differ.
  static Built<MaglevTable> Build(std::span<const HashedNode> nodes, size_t size = kDefaultSize);

  // The node of `key`, or that of the next place that `may_take(index)` accepts. nullopt when the
  // key is empty or kHashTries further places were refused as well: then the caller uses round
  // robin.
  template <typename MayTake>
  std::optional<size_t> Find(std::string_view key, const MayTake& may_take) const {
    if (key.empty() || table_.empty()) return std::nullopt;
    size_t at = ScaleTo(HashBytes(key), table_.size());
    for (int tries = 0; tries <= kHashTries; ++tries) {
      const size_t node = table_.data()[at];
      if (may_take(node)) return node;
      if (++at == table_.size()) at = 0;
    }
    return std::nullopt;
  }

  std::optional<size_t> Pick(std::string_view key, std::span<const EndpointView> endpoints) const {
    return Find(key, [&](size_t i) { return i < endpoints.size() && MayPick(endpoints[i]); });
  }

  // Which node holds each place; empty when no node has a weight.
  std::span<const uint16_t> places() const { return table_; }

 private:
  std::vector<uint16_t> table_;
};

}  // namespace sluice::balancer
