#include "gateway/proxy/picker.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "balancer/bounded_load.h"
#include "balancer/least_conn.h"
#include "gateway/base/log.h"
#include "gateway/proxy/eligibility.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {
namespace {

const balancer::Ewma kEwma;

uint32_t InFlight(const Endpoint& endpoint) {
  return endpoint.shared.count(EndpointTable::Counter::kActive);
}

// Looks `key` up in a table of either kind.
template <typename Table, typename MayTake>
std::optional<size_t> Find(const Table& table, std::string_view key, const MayTake& may_take) {
  if (const auto* ring = std::get_if<balancer::KetamaRing>(&table)) {
    return ring->Find(key, may_take);
  }
  if (const auto* maglev = std::get_if<balancer::MaglevTable>(&table)) {
    return maglev->Find(key, may_take);
  }
  return std::nullopt;
}

}  // namespace

Picker::Picker(uint64_t seed) : random_(seed) {}

void Picker::Update(const PickRule& rule, std::span<const std::shared_ptr<Endpoint>> endpoints,
                    MonoTime now) {
  bound_ = static_cast<double>(rule.balance_factor) / 100;
  if (type_ == rule.type && IsCurrent(endpoints)) return;
  type_ = rule.type;
  std::unordered_map<const Endpoint*, balancer::RoundRobinState> known;
  for (size_t i = 0; i < endpoints_.size(); ++i) known.emplace(endpoints_[i], states_[i]);
  endpoints_.clear();
  priorities_.clear();
  views_.clear();
  states_.clear();
  for (const auto& endpoint : endpoints) {
    const auto found = known.find(endpoint.get());
    endpoints_.push_back(endpoint.get());
    priorities_.push_back(endpoint->priority);
    views_.push_back({.weight = endpoint->weight, .eligible = true});
    states_.push_back(found == known.end() ? balancer::RoundRobinState() : found->second);
  }
  in_flight_.resize(endpoints_.size());
  refreshed_.reset();
  if (known.empty()) balancer::StartPhase(views_, states_, random_);
  BuildTiers(std::exchange(tiers_, {}));
  if (type_ == Type::kEwma) SeedLatencies(now);
}

bool Picker::IsCurrent(std::span<const std::shared_ptr<Endpoint>> endpoints) const {
  if (endpoints_.size() != endpoints.size()) return false;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const Endpoint& endpoint = *endpoints[i];
    if (&endpoint != endpoints_[i] || endpoint.priority != priorities_[i] ||
        endpoint.weight != views_[i].weight) {
      return false;
    }
  }
  return true;
}

void Picker::BuildTiers(std::span<const Tier> before) {
  for (const balancer::Tier range : balancer::MakeTiers(priorities_)) {
    Tier& tier = tiers_.emplace_back();
    tier.range = range;
    tier.priority = priorities_[range.begin];
    std::vector<uint32_t> weights;
    for (const balancer::EndpointView& view : ViewsOf(range)) weights.push_back(view.weight);
    tier.rotation = balancer::Rotation::Build(weights);
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&](const Tier& old) { return old.priority == tier.priority; });
    tier.cursor = same == before.end() ? tier.rotation.StartCursor(random_) : same->cursor;
    tier.table = BuildTable(range);
  }
}

Picker::Table Picker::BuildTable(balancer::Tier range) const {
  if (type_ == Type::kRandom || type_ == Type::kEwma) {
    std::vector<uint32_t> weights;
    for (size_t i = range.begin; i < range.end; ++i) weights.push_back(views_[i].weight);
    return balancer::WeightedDraw::Build(weights);
  }
  if (!hashes()) return {};
  std::vector<std::string> names;
  const std::vector<balancer::HashedNode> nodes = HashedNodes(range, names);
  std::string why;
  if (type_ == Type::kChash) {
    auto ring = balancer::KetamaRing::Build(nodes);
    if (auto* made = std::get_if<balancer::KetamaRing>(&ring)) return std::move(*made);
    why = std::get<std::string>(ring);
  } else {
    auto maglev = balancer::MaglevTable::Build(nodes);
    if (auto* made = std::get_if<balancer::MaglevTable>(&maglev)) return std::move(*made);
    why = std::get<std::string>(maglev);
  }
  Log(LogLevel::kError, "keys cannot be hashed, nodes take turns instead", {{"reason", why}});
  return {};
}

// The identities that keys follow. An address that two nodes have is there twice and needs two.
std::vector<balancer::HashedNode> Picker::HashedNodes(balancer::Tier range,
                                                      std::vector<std::string>& names) const {
  std::unordered_map<std::string_view, size_t> times;
  for (size_t i = range.begin; i < range.end; ++i) {
    const std::string& name = endpoints_[i]->name;
    const size_t before = times[name]++;
    names.push_back(before == 0 ? name : name + "#" + std::to_string(before));
  }
  std::vector<balancer::HashedNode> nodes;
  for (size_t i = range.begin; i < range.end; ++i) {
    nodes.push_back({names[i - range.begin], views_[i].weight});
  }
  return nodes;
}

// What answers were never seen from is taken to be as fast as the others are on average.
void Picker::SeedLatencies(MonoTime now) {
  const float mean = kEwma.MeanCost(
      endpoints_.size(), now, [&](size_t i) -> const auto& { return endpoints_[i]->shared->ewma; });
  for (Endpoint* endpoint : endpoints_) {
    balancer::EwmaState& state = endpoint->shared->ewma;
    if (kEwma.Cost(state, now) == 0) kEwma.Seed(state, mean, now);
  }
}

std::optional<size_t> Picker::Pick(const PickRequest& request) {
  if (const auto picked = PickAtOnce(request)) return picked;
  const bool fresh = Refresh(request.now);
  const auto picked = PickAmongAll(request);
  if (!picked || fresh || panic_ || MayTake(*endpoints_[*picked], request.now)) return picked;
  // It could be taken a moment ago.
  refreshed_.reset();
  Refresh(request.now);
  return PickAmongAll(request);
}

// The usual case, in which one endpoint has to be looked at instead of all.
std::optional<size_t> Picker::PickAtOnce(const PickRequest& request) {
  if (tiers_.empty() || !request.tried.empty()) return std::nullopt;
  Tier& tier = tiers_.front();
  const auto may_take = [&](size_t i) {
    const size_t index = tier.range.begin + i;
    return views_[index].weight > 0 && MayTake(*endpoints_[index], request.now);
  };
  if (hashes() && !request.key.empty()) {
    if (bound_ > 0) return std::nullopt;
    return Find(tier.table, request.key, may_take);
  }
  if (type_ != Type::kRoundRobin && !hashes()) return std::nullopt;
  const auto next = tier.rotation.Next(tier.range.size(), tier.cursor);
  return next && may_take(*next) ? next : std::nullopt;
}

// Asks which endpoints may be taken, at most once for each point in time; false: not again.
bool Picker::Refresh(MonoTime now) {
  if (refreshed_ == now) return false;
  refreshed_ = now;
  panic_ = true;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    views_[i].eligible = MayTake(*endpoints_[i], now);
    if (balancer::MayPick(views_[i])) panic_ = false;
  }
  if (!panic_) return true;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    views_[i].eligible = !IsOrderedAway(*endpoints_[i]);
  }
  return true;
}

std::optional<size_t> Picker::PickAmongAll(const PickRequest& request) {
  if (!request.tried.empty()) Hide(request.tried);
  for (Tier& tier : tiers_) {
    const auto views = ViewsOf(tier.range);
    if (std::none_of(views.begin(), views.end(), balancer::MayPick)) continue;
    const auto picked = PickIn(tier, request);
    return picked ? std::optional(tier.range.begin + *picked) : std::nullopt;
  }
  return std::nullopt;
}

void Picker::Hide(std::span<const std::shared_ptr<Endpoint>> tried) {
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    const bool was_tried = std::any_of(tried.begin(), tried.end(), [&](const auto& endpoint) {
      return endpoint.get() == endpoints_[i];
    });
    if (was_tried) views_[i].eligible = false;
  }
  refreshed_.reset();  // for this request only
}

std::optional<size_t> Picker::PickIn(Tier& tier, const PickRequest& request) {
  switch (type_) {
    case Type::kLeastConn:
      return balancer::PickLeastConn(
          ViewsOf(tier.range), CountInFlight(tier.range),
          {.rotation = tier.rotation, .states = StatesOf(tier.range), .cursor = tier.cursor});
    case Type::kEwma:
    case Type::kRandom:
      return PickOfTwo(tier, request.now);
    case Type::kChash:
    case Type::kMaglev:
      if (const auto picked = PickHashed(tier, request.key)) return picked;
      break;
    case Type::kRoundRobin:
      break;
  }
  return balancer::PickRoundRobin(ViewsOf(tier.range), StatesOf(tier.range));
}

std::optional<size_t> Picker::PickOfTwo(const Tier& tier, MonoTime now) {
  const auto& draw = std::get<balancer::WeightedDraw>(tier.table);
  const auto views = ViewsOf(tier.range);
  const auto endpoint = [&](size_t i) -> Endpoint& { return *endpoints_[tier.range.begin + i]; };
  const auto in_flight = [&](size_t i) { return InFlight(endpoint(i)); };
  if (type_ == Type::kRandom) return balancer::PickRandomTwo(draw, views, random_, in_flight);
  const auto pair = draw.DrawTwo(views, random_);
  if (!pair) return std::nullopt;
  const auto state = [&](size_t i) -> const auto& { return endpoint(i).shared->ewma; };
  return kEwma.Lower(*pair, views, now, state, in_flight);
}

std::optional<size_t> Picker::PickHashed(const Tier& tier, std::string_view key) {
  const auto views = ViewsOf(tier.range);
  if (bound_ > 0) {
    return Find(tier.table, key, balancer::BoundedLoad(views, CountInFlight(tier.range), bound_));
  }
  return Find(tier.table, key, [&](size_t i) { return balancer::MayPick(views[i]); });
}

std::span<const uint32_t> Picker::CountInFlight(balancer::Tier range) {
  for (size_t i = range.begin; i < range.end; ++i) in_flight_[i] = InFlight(*endpoints_[i]);
  return std::span(in_flight_).subspan(range.begin, range.size());
}

}  // namespace sluice
