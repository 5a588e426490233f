// The endpoints of an upstream with what a choice among them is looked up in: turns, hash ring,
// table, draw. Immutable; shared by the snapshots of a worker for as long as nothing in it changes.
// With 1,000 endpoints a ring takes 20 ms to build, so that happens on a pool thread: with the
// snapshot when all nodes are addresses, else when names have been resolved.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "balancer/balancer.h"
#include "balancer/chash.h"
#include "balancer/maglev.h"
#include "balancer/random_two.h"
#include "balancer/rotation.h"
#include "conf/resources.h"
#include "gateway/base/address.h"

namespace sluice {

// One address of a node.
struct PlannedEndpoint {
  PlannedEndpoint(const SocketAddress& where, const conf::NodeConfig& node);

  SocketAddress address;
  std::string name;       // "127.0.0.1:1980"; left to UpstreamPlan::Make
  std::string node_host;  // host and port of the node as configured: Host for pass_host "node"
  uint32_t weight = 1;
  int32_t priority = 0;

  friend bool operator==(const PlannedEndpoint&, const PlannedEndpoint&) = default;
};

class UpstreamPlan {
 public:
  using Type = conf::UpstreamConfig::Balancer;
  using Table = std::variant<std::monostate, balancer::KetamaRing, balancer::MaglevTable,
                             balancer::WeightedDraw>;

  // The endpoints of one priority.
  struct Tier {
    balancer::Tier range;
    int32_t priority = 0;
    balancer::Rotation rotation;
    Table table;  // monostate: the type needs none, or it could not be built
  };

  // `endpoints` in any order. `previous`, which may be null, when it is the same.
  static std::shared_ptr<const UpstreamPlan> Make(Type type, std::vector<PlannedEndpoint> endpoints,
                                                  std::shared_ptr<const UpstreamPlan> previous);

  Type type() const { return type_; }
  std::span<const PlannedEndpoint> endpoints() const { return endpoints_; }  // highest tier first
  std::span<const Tier> tiers() const { return tiers_; }
  // Why keys cannot be hashed, so that nodes take turns instead; empty: they can.
  const std::string& error() const { return error_; }

 private:
  UpstreamPlan() = default;
  void BuildTiers();
  Table BuildTable(balancer::Tier range, std::span<const uint32_t> weights);
  template <typename Hashed>
  Table BuildHashed(std::span<const PlannedEndpoint> endpoints);

  Type type_ = Type::kRoundRobin;
  std::vector<PlannedEndpoint> endpoints_;
  std::vector<Tier> tiers_;
  std::string error_;
};

// Those of all upstreams of a configuration.
class UpstreamPlans {
 public:
  // What has not changed since `previous`, which may be null, is taken from there.
  static std::shared_ptr<const UpstreamPlans> Make(const conf::Config& config,
                                                   const UpstreamPlans* previous);

  // Of the upstream of that index; null: a node of it is a name.
  const std::shared_ptr<const UpstreamPlan>& of(size_t upstream) const { return plans_[upstream]; }

 private:
  std::vector<std::shared_ptr<const UpstreamPlan>> plans_;
  std::unordered_map<std::string, size_t> by_key_;
};

}  // namespace sluice
