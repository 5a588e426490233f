// Chooses among the endpoints of an upstream by the algorithm that its `type` names, in one worker.
// Owned by UpstreamState. What is costly is built when the endpoints or their weights change; a
// pick allocates nothing. Eligibility and counts come from the endpoints' shared records, so that
// all workers of the host choose by the same knowledge.
//
//   eligible   gateway/proxy/eligibility.h says so, and the weight is above 0
//   panic      no endpoint of the upstream may be taken: choose as if all were healthy, except
//              those that the operator keeps away
//   tier       of several priorities the highest with an endpoint that is eligible
//   tried      never the same endpoint twice for one request
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/chash.h"
#include "balancer/ewma.h"
#include "balancer/maglev.h"
#include "balancer/random_two.h"
#include "balancer/rotation.h"
#include "conf/resources.h"
#include "gateway/base/time.h"

namespace sluice {

struct Endpoint;

// How to pick, as the configuration says.
struct PickRule {
  using Type = conf::UpstreamConfig::Balancer;

  Type type = Type::kRoundRobin;
  uint32_t balance_factor = 0;  // hash_balance_factor
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

  // From now on picks among `endpoints`, sorted by priority, highest first; they outlive this or
  // the next Update. Cheap when neither they, their weights nor the type have changed. Endpoints
  // that stay keep their place in the rotation.
  void Update(const PickRule& rule, std::span<const std::shared_ptr<Endpoint>> endpoints,
              MonoTime now);

  // An index of `endpoints`; nullopt when none may be tried. Moves the rotation.
  std::optional<size_t> Pick(const PickRequest& request);

  bool hashes() const { return type_ == Type::kChash || type_ == Type::kMaglev; }
  bool weighs_latency() const { return type_ == Type::kEwma; }

 private:
  using Type = PickRule::Type;
  using Table = std::variant<std::monostate, balancer::KetamaRing, balancer::MaglevTable,
                             balancer::WeightedDraw>;

  // The endpoints of one priority. Its views and states are those of [range.begin, range.end).
  struct Tier {
    balancer::Tier range;
    int32_t priority = 0;
    balancer::Rotation rotation;
    uint64_t cursor = 0;
    Table table;
  };

  bool IsCurrent(std::span<const std::shared_ptr<Endpoint>> endpoints) const;
  void BuildTiers(std::span<const Tier> before);
  Table BuildTable(balancer::Tier range) const;
  std::vector<balancer::HashedNode> HashedNodes(balancer::Tier range,
                                                std::vector<std::string>& names) const;
  void SeedLatencies(MonoTime now);

  std::optional<size_t> PickAtOnce(const PickRequest& request);
  bool Refresh(MonoTime now);
  std::optional<size_t> PickAmongAll(const PickRequest& request);
  void Hide(std::span<const std::shared_ptr<Endpoint>> tried);
  std::optional<size_t> PickIn(Tier& tier, const PickRequest& request);
  std::optional<size_t> PickOfTwo(const Tier& tier, MonoTime now);
  std::optional<size_t> PickHashed(const Tier& tier, std::string_view key);
  std::span<const uint32_t> CountInFlight(balancer::Tier range);
  std::span<balancer::EndpointView> ViewsOf(balancer::Tier range) {
    return std::span(views_).subspan(range.begin, range.size());
  }
  std::span<balancer::RoundRobinState> StatesOf(balancer::Tier range) {
    return std::span(states_).subspan(range.begin, range.size());
  }

  uint64_t random_;
  Type type_ = Type::kRoundRobin;
  double bound_ = 0;  // of loads, times the fair share; 0: none
  std::vector<Endpoint*> endpoints_;
  std::vector<int32_t> priorities_;
  std::vector<balancer::EndpointView> views_;      // parallel to endpoints_, as of refreshed_
  std::vector<balancer::RoundRobinState> states_;  // parallel to endpoints_
  std::vector<uint32_t> in_flight_;                // parallel to endpoints_, scratch
  std::vector<Tier> tiers_;
  std::optional<MonoTime> refreshed_;  // none: views_ are not to be believed
  bool panic_ = false;                 // views_ are those of a panic
};

}  // namespace sluice
