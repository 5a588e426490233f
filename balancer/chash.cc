#include "balancer/chash.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>

namespace sluice::balancer {
namespace {

// nginx's reading of a server's name: digits after the last colon are the port; a UNIX path has
// none.
struct HostPort {
  std::string_view host;
  std::string_view port;
};

bool IsUnixPath(std::string_view name) {
  constexpr std::string_view kUnix = "unix:";
  return name.size() >= kUnix.size() &&
         std::equal(kUnix.begin(), kUnix.end(), name.begin(),
                    [](char want, char c) { return want == (c >= 'A' && c <= 'Z' ? c + 32 : c); });
}

HostPort SplitName(std::string_view name) {
  if (IsUnixPath(name)) return {name.substr(5), {}};
  const size_t colon = name.find_last_not_of("0123456789");
  if (colon == std::string_view::npos || name[colon] != ':') return {name, {}};
  return {name.substr(0, colon), name.substr(colon + 1)};
}

std::string_view AsBytes(const uint32_t& word) {
  return {reinterpret_cast<const char*>(&word), sizeof word};
}

}  // namespace

Built<KetamaRing> KetamaRing::Build(std::span<const HashedNode> nodes, size_t max_points) {
  uint32_t divisor = 0;
  uint64_t total = 0;
  for (const HashedNode& node : nodes) {
    divisor = std::gcd(divisor, node.weight);
    total += node.weight;
  }
  if (nodes.size() > max_points) {
    return "expected at most " + std::to_string(max_points) + " nodes on a hash ring, found " +
           std::to_string(nodes.size());
  }
  KetamaRing ring;
  if (total == 0) return ring;
  const uint64_t wanted = total / divisor * kPointsPerWeight;
  ring.points_.reserve(std::min<uint64_t>(wanted, max_points));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const uint64_t weight = nodes[i].weight;
    if (weight == 0) continue;
    uint64_t count = weight / divisor * kPointsPerWeight;
    if (wanted > max_points) {
      const auto share = static_cast<double>(weight) / static_cast<double>(total);
      count = std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(max_points)));
    }
    ring.AddPoints(nodes[i].name, static_cast<uint32_t>(i), count);
  }
  // Of equal hashes the first node's counts, as in nginx.
  std::stable_sort(ring.points_.begin(), ring.points_.end(),
                   [](const Point& a, const Point& b) { return a.hash < b.hash; });
  const auto end = std::unique(ring.points_.begin(), ring.points_.end(),
                               [](const Point& a, const Point& b) { return a.hash == b.hash; });
  ring.points_.erase(end, ring.points_.end());
  ring.MakeIndex();
  return ring;
}

void KetamaRing::AddPoints(std::string_view name, uint32_t node, size_t count) {
  const auto [host, port] = SplitName(name);
  const uint32_t base = Crc32(port, Crc32(std::string_view("\0", 1), Crc32(host)));
  uint32_t hash = 0;
  for (size_t i = 0; i < count; ++i) {
    hash = Crc32(AsBytes(hash), base);
    points_.push_back({hash, node});
  }
}

void KetamaRing::MakeIndex() {
  const int bits = std::clamp(static_cast<int>(std::bit_width(points_.size() - 1)), 1, 24);
  shift_ = 32 - bits;
  index_.resize(size_t{1} << bits);
  size_t point = 0;
  for (size_t value = 0; value < index_.size(); ++value) {
    while (point < points_.size() && (points_[point].hash >> shift_) < value) ++point;
    index_[value] = static_cast<uint32_t>(point);
  }
}

}  // namespace sluice::balancer
