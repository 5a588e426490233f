#include "balancer/balancer.h"

#include <algorithm>
#include <utility>

namespace sluice::balancer {

std::vector<Tier> MakeTiers(std::span<const int32_t> priorities) {
  std::vector<Tier> tiers;
  for (size_t i = 0; i < priorities.size(); ++i) {
    if (i == 0 || priorities[i] != priorities[i - 1]) tiers.push_back({i, i});
    tiers.back().end = i + 1;
  }
  return tiers;
}

std::optional<Tier> ActiveTier(std::span<const Tier> tiers,
                               std::span<const EndpointView> endpoints) {
  for (const Tier& tier : tiers) {
    const auto members = endpoints.subspan(tier.begin, tier.size());
    if (std::any_of(members.begin(), members.end(), MayPick)) return tier;
  }
  return std::nullopt;
}

WithoutTried::WithoutTried(std::span<EndpointView> endpoints, std::span<Tried> tried)
    : endpoints_(endpoints), tried_(tried) {
  for (Tried& one : tried_) {
    // A reload may have made the list shorter since.
    if (one.index < endpoints_.size()) std::swap(endpoints_[one.index].eligible, one.swapped);
  }
}

WithoutTried::~WithoutTried() {
  // Backwards, so that an endpoint that is listed twice gets back what the first swap took.
  for (size_t i = tried_.size(); i-- > 0;) {
    Tried& one = tried_[i];
    if (one.index < endpoints_.size()) std::swap(endpoints_[one.index].eligible, one.swapped);
  }
}

}  // namespace sluice::balancer
