#include "gateway/proxy/upstream_plan.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "gateway/proxy/resolved_nodes.h"

namespace sluice {
namespace {

// The identities that keys follow. An address that two nodes have is there twice and needs two.
std::vector<std::string> HashedNames(std::span<const PlannedEndpoint> endpoints) {
  std::unordered_map<std::string_view, size_t> times;
  std::vector<std::string> names;
  names.reserve(endpoints.size());
  for (const PlannedEndpoint& endpoint : endpoints) {
    const size_t before = times[endpoint.name]++;
    names.push_back(before == 0 ? endpoint.name : endpoint.name + "#" + std::to_string(before));
  }
  return names;
}

// Nullopt: one of the nodes has to be looked up.
std::optional<std::vector<PlannedEndpoint>> LiteralEndpoints(const conf::UpstreamConfig& config) {
  std::vector<PlannedEndpoint> endpoints;
  endpoints.reserve(config.nodes.size());
  for (const conf::NodeConfig& node : config.nodes) {
    const auto address = LiteralAddress(node);
    if (!address) return std::nullopt;
    endpoints.emplace_back(*address, node);
  }
  return endpoints;
}

}  // namespace

PlannedEndpoint::PlannedEndpoint(const SocketAddress& where, const conf::NodeConfig& node)
    : address(where), node_host(HostAndPort(node)), weight(node.weight), priority(node.priority) {}

std::shared_ptr<const UpstreamPlan> UpstreamPlan::Make(
    Type type, std::vector<PlannedEndpoint> endpoints,
    std::shared_ptr<const UpstreamPlan> previous) {
  for (PlannedEndpoint& endpoint : endpoints) endpoint.name = endpoint.address.ToString();
  std::stable_sort(endpoints.begin(), endpoints.end(),
                   [](const auto& a, const auto& b) { return a.priority > b.priority; });
  if (previous != nullptr && previous->type_ == type && previous->endpoints_ == endpoints) {
    return previous;
  }
  auto plan = std::shared_ptr<UpstreamPlan>(new UpstreamPlan());
  plan->type_ = type;
  plan->endpoints_ = std::move(endpoints);
  plan->BuildTiers();
  return plan;
}

void UpstreamPlan::BuildTiers() {
  std::vector<int32_t> priorities;
  for (const PlannedEndpoint& endpoint : endpoints_) priorities.push_back(endpoint.priority);
  for (const balancer::Tier range : balancer::MakeTiers(priorities)) {
    std::vector<uint32_t> weights;
    for (size_t i = range.begin; i < range.end; ++i) weights.push_back(endpoints_[i].weight);
    tiers_.push_back({.range = range,
                      .priority = priorities[range.begin],
                      .rotation = balancer::Rotation::Build(weights),
                      .table = BuildTable(range, weights)});
  }
}

template <typename Hashed>
UpstreamPlan::Table UpstreamPlan::BuildHashed(std::span<const PlannedEndpoint> endpoints) {
  const std::vector<std::string> names = HashedNames(endpoints);
  std::vector<balancer::HashedNode> nodes;
  nodes.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) nodes.push_back({names[i], endpoints[i].weight});
  auto built = Hashed::Build(nodes);
  if (auto* table = std::get_if<Hashed>(&built)) return std::move(*table);
  error_ = std::get<std::string>(built);
  return {};
}

UpstreamPlan::Table UpstreamPlan::BuildTable(balancer::Tier range,
                                             std::span<const uint32_t> weights) {
  const auto endpoints = std::span(endpoints_).subspan(range.begin, range.size());
  switch (type_) {
    case Type::kChash:
      return BuildHashed<balancer::KetamaRing>(endpoints);
    case Type::kMaglev:
      return BuildHashed<balancer::MaglevTable>(endpoints);
    case Type::kRandom:
    case Type::kEwma:
      return balancer::WeightedDraw::Build(weights);
    case Type::kRoundRobin:
    case Type::kLeastConn:
      break;
  }
  return {};
}

std::shared_ptr<const UpstreamPlans> UpstreamPlans::Make(const conf::Config& config,
                                                         const UpstreamPlans* previous) {
  auto plans = std::make_shared<UpstreamPlans>();
  for (const conf::UpstreamConfig& upstream : config.upstreams) {
    plans->by_key_.emplace(upstream.key, plans->plans_.size());
    auto& plan = plans->plans_.emplace_back();
    auto endpoints = LiteralEndpoints(upstream);
    if (!endpoints) continue;
    std::shared_ptr<const UpstreamPlan> before;
    if (previous != nullptr) {
      const auto found = previous->by_key_.find(upstream.key);
      if (found != previous->by_key_.end()) before = previous->of(found->second);
    }
    plan = UpstreamPlan::Make(upstream.balancer, std::move(*endpoints), std::move(before));
  }
  return plans;
}

}  // namespace sluice
