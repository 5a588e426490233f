#include "balancer/maglev.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <string>
#include <utility>

namespace sluice::balancer {
namespace {

constexpr uint16_t kFree = std::numeric_limits<uint16_t>::max();

bool IsPrime(size_t n) {
  if (n < 2) return false;
  for (size_t i = 2; i * i <= n; ++i) {
    if (n % i == 0) return false;
  }
  return true;
}

// A node that claims places: every place once, in an order of its own.
struct Claimant {
  uint16_t node;
  uint64_t weight;
  size_t next;
  size_t skip;
  uint64_t claims = 0;

  // In which round it has its next turn: the heaviest node has one in each, others in proportion.
  uint64_t Round(uint64_t heaviest) const { return (claims * heaviest + weight - 1) / weight; }
};

std::vector<Claimant> MakeClaimants(std::span<const HashedNode> nodes, size_t size) {
  std::vector<Claimant> claimants;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].weight == 0) continue;
    claimants.push_back({.node = static_cast<uint16_t>(i),
                         .weight = nodes[i].weight,
                         .next = HashBytes(nodes[i].name, 1) % size,
                         .skip = HashBytes(nodes[i].name, 2) % (size - 1) + 1});
  }
  // By name, so that the table does not depend on the order of the list.
  std::sort(claimants.begin(), claimants.end(), [&](const Claimant& a, const Claimant& b) {
    return nodes[a.node].name < nodes[b.node].name;
  });
  return claimants;
}

std::string Refusal(const char* expected, size_t found) {
  return std::string("expected ") + expected + ", found " + std::to_string(found);
}

}  // namespace

Built<MaglevTable> MaglevTable::Build(std::span<const HashedNode> nodes, size_t size) {
  if (size < 2 || size > kMaxSize || !IsPrime(size)) {
    return Refusal("a prime of at most 5000011 as size of a maglev table", size);
  }
  if (nodes.size() >= kFree) return Refusal("at most 65534 nodes in a maglev table", nodes.size());
  std::vector<Claimant> claimants = MakeClaimants(nodes, size);
  if (claimants.size() > size) {
    return Refusal("at most as many nodes as places in a maglev table", claimants.size());
  }
  MaglevTable table;
  if (claimants.empty()) return table;

  uint64_t heaviest = 0;
  for (const Claimant& claimant : claimants) heaviest = std::max(heaviest, claimant.weight);
  // The turns in order, by round and in it by name: a heap, because going through all nodes in each
  // round would take size times nodes steps when one weight is far above the others.
  using Turn = std::pair<uint64_t, size_t>;
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  for (size_t i = 0; i < claimants.size(); ++i) turns.emplace(0, i);
  table.table_.assign(size, kFree);
  for (size_t claimed = 0; claimed < size; ++claimed) {
    Claimant& claimant = claimants[turns.top().second];
    const size_t turn = turns.top().second;
    turns.pop();
    while (table.table_[claimant.next] != kFree) {
      claimant.next = (claimant.next + claimant.skip) % size;
    }
    table.table_[claimant.next] = claimant.node;
    ++claimant.claims;
    turns.emplace(claimant.Round(heaviest), turn);
  }
  return table;
}

}  // namespace sluice::balancer
