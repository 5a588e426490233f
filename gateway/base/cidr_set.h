// A set of address ranges that is asked whether it holds an address: ip-restriction, real-ip. It
// keeps disjoint sorted ranges in groups and finds one by bisection of the groups: one cache miss
// among 100,000, where a tree of prefixes has several. Built once, then constant, so that threads
// may share it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "gateway/base/address.h"

namespace sluice {

class CidrSet {
 public:
  CidrSet() = default;  // holds nothing
  // In O(n log n); keeps at most 36 bytes for each range.
  explicit CidrSet(std::span<const Cidr> ranges);

  // As Cidr::Contains of any range; IPv4 and IPv6 are apart, also for ::/0. O(log n), allocates
  // nothing.
  bool Contains(const IpAddress& address) const;

  // How many disjoint ranges are kept: neighbours and what lies within another are one.
  size_t size() const { return v4_.size + v6_.size; }
  bool empty() const { return size() == 0; }
  size_t memory() const;  // bytes

 private:
  using Key4 = uint32_t;
  using Key6 = unsigned __int128;

  // Two cache lines that are fetched together. Places of the last group that are left over repeat
  // the last range.
  template <typename Key>
  struct alignas(128) Group {
    static constexpr size_t kSize = 64 / sizeof(Key);
    Key firsts[kSize];
    Key lasts[kSize];
  };

  template <typename Key>
  struct Ranges {
    std::vector<Key> starts;  // the first address of each group: the part that stays in the cache
    std::vector<Group<Key>> groups;
    size_t size = 0;

    void Build(std::vector<std::pair<Key, Key>> ranges);
    bool Contains(Key key) const;
    size_t memory() const;
  };

  Ranges<Key4> v4_;
  Ranges<Key6> v6_;
};

}  // namespace sluice
