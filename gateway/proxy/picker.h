// Chooses among the endpoints of an upstream by the algorithm that its `type` names, in one worker.
// Owned by UpstreamState. What is costly comes ready with the plan of the endpoints; a pick
// allocates nothing. Eligibility and counts come from the endpoints' shared records, so that all
// workers of the host choose by the same knowledge.
//
//   eligible   gateway/proxy/eligibility.h says so, and the weight is above 0
//   panic      no endpoint of the upstream is healthy, or less than the wanted share: choose as if
//              all were, except those that the operator keeps away
//   tier       of several priorities the highest with an endpoint that is eligible
//   tried      never the same endpoint twice for one request
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/round_robin.h"
#include "gateway/base/time.h"
#include "gateway/proxy/upstream_plan.h"

namespace sluice {

struct Endpoint;

// How to pick, as the configuration says; the type is the plan's.
struct PickRule {
  uint32_t balance_factor = 0;   // hash_balance_factor
  uint32_t panic_threshold = 0;  // healthy_panic_threshold
};

struct PickRequest {
  std::span<const std::shared_ptr<Endpoint>> tried;  // by this request
  std::string_view key;                              // for chash and maglev; empty: round robin
  MonoTime now{};
};

class Picker {
 public:
  // `seed` differs from worker to worker, so that their first picks do.
  explicit Picker(uint64_t seed);

  // From now on picks among `endpoints`, which are those of `plan` and outlive this or the next
  // Update. Cheap when neither has changed. Endpoints that stay keep their place in the rotation.
  void Update(const PickRule& rule, std::shared_ptr<const UpstreamPlan> plan,
              std::span<const std::shared_ptr<Endpoint>> endpoints, MonoTime now);

  // An index of `endpoints`; nullopt when none may be tried. Moves the rotation.
  std::optional<size_t> Pick(const PickRequest& request);

  bool hashes() const { return type_ == Type::kChash || type_ == Type::kMaglev; }
  bool weighs_latency() const { return type_ == Type::kEwma; }

 private:
  using Type = UpstreamPlan::Type;

  // Of one priority. Its views and states are those of [range.begin, range.end).
  struct Tier {
    const UpstreamPlan::Tier* planned;
    uint64_t cursor = 0;

    balancer::Tier range() const { return planned->range; }
  };

  void TakeTiers(std::span<const Tier> before);
  void SeedLatencies(MonoTime now);

  std::optional<size_t> PickAtOnce(const PickRequest& request);
  bool Refresh(MonoTime now);
  bool IsPanic(MonoTime now);
  std::optional<size_t> PickAmongAll(const PickRequest& request);
  void Hide(std::span<const std::shared_ptr<Endpoint>> tried);
  std::optional<size_t> PickIn(Tier& tier, const PickRequest& request);
  std::optional<size_t> PickOfTwo(const Tier& tier, MonoTime now);
  std::optional<size_t> PickHashed(const Tier& tier, std::string_view key);
  uint32_t InFlight(size_t i) const;
  std::span<const uint32_t> CountInFlight(balancer::Tier range);
  std::span<balancer::EndpointView> ViewsOf(balancer::Tier range) {
    return std::span(views_).subspan(range.begin, range.size());
  }
  std::span<balancer::RoundRobinState> StatesOf(balancer::Tier range) {
    return std::span(states_).subspan(range.begin, range.size());
  }

  uint64_t random_;
  PickRule rule_;
  Type type_ = Type::kRoundRobin;
  std::shared_ptr<const UpstreamPlan> plan_;  // null: nothing to pick from
  std::vector<Tier> tiers_;                   // of plan_
  // Columns of what a pick looks at, one entry for each endpoint of plan_.
  std::vector<Endpoint*> endpoints_;
  std::vector<const std::atomic<uint32_t>*> active_;  // the host's counts of requests under way
  std::vector<balancer::EndpointView> views_;         // as of refreshed_
  std::vector<balancer::RoundRobinState> states_;
  std::vector<uint32_t> in_flight_;    // scratch
  std::optional<MonoTime> refreshed_;  // none: views_ are not to be believed
  bool panic_ = false;                 // views_ are those of a panic
};

}  // namespace sluice
