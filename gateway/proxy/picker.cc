#include "gateway/proxy/picker.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <variant>

#include "balancer/bounded_load.h"
#include "balancer/ewma.h"
#include "balancer/lanes.h"
#include "balancer/least_conn.h"
#include "gateway/proxy/eligibility.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {
namespace {

const balancer::Ewma kEwma;

// Looks `key` up in a table of either kind.
template <typename MayTake>
std::optional<size_t> Find(const UpstreamPlan::Table& table, std::string_view key,
                           const MayTake& may_take) {
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

void Picker::Update(const PickRule& rule, std::shared_ptr<const UpstreamPlan> plan,
                    std::span<const std::shared_ptr<Endpoint>> endpoints, MonoTime now) {
  rule_ = rule;
  refreshed_.reset();
  if (plan == plan_) return;
  std::unordered_map<const Endpoint*, balancer::RoundRobinState> known;
  for (size_t i = 0; i < endpoints_.size(); ++i) known.emplace(endpoints_[i], states_[i]);
  endpoints_.clear();
  active_.clear();
  views_.clear();
  states_.clear();
  for (size_t i = 0; i < endpoints.size(); ++i) {
    Endpoint& endpoint = *endpoints[i];
    const auto found = known.find(&endpoint);
    endpoints_.push_back(&endpoint);
    active_.push_back(&endpoint.shared.word(EndpointTable::Counter::kActive));
    views_.push_back({.weight = plan->endpoints()[i].weight, .eligible = true});
    states_.push_back(found == known.end() ? balancer::RoundRobinState() : found->second);
  }
  in_flight_.resize(endpoints_.size());
  if (known.empty()) balancer::StartPhase(views_, states_, random_);
  const auto before = std::exchange(plan_, std::move(plan));  // to which the old tiers point
  type_ = plan_->type();
  TakeTiers(std::exchange(tiers_, {}));
  if (type_ == Type::kEwma) SeedLatencies(now);
}

void Picker::TakeTiers(std::span<const Tier> before) {
  for (const UpstreamPlan::Tier& planned : plan_->tiers()) {
    const auto same = std::find_if(before.begin(), before.end(), [&](const Tier& old) {
      return old.planned->priority == planned.priority;
    });
    const uint64_t cursor =
        same == before.end() ? planned.rotation.StartCursor(random_) : same->cursor;
    tiers_.push_back({.planned = &planned, .cursor = cursor});
  }
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
  // A panic at no healthy endpoint shows where none of them may be taken.
  if (rule_.panic_threshold > 0 && IsPanic(request.now)) return std::nullopt;
  Tier& tier = tiers_.front();
  const balancer::Tier range = tier.range();
  const auto may_take = [&](size_t i) {
    const size_t index = range.begin + i;
    return views_[index].weight > 0 && MayTake(*endpoints_[index], request.now);
  };
  if (hashes() && !request.key.empty()) {
    if (rule_.balance_factor > 0) return std::nullopt;
    return Find(tier.planned->table, request.key, may_take);
  }
  if (type_ != Type::kRoundRobin && !hashes()) return std::nullopt;
  const auto next = tier.planned->rotation.Next(range.size(), tier.cursor);
  return next && may_take(*next) ? next : std::nullopt;
}

bool Picker::IsPanic(MonoTime now) {
  Refresh(now);
  return panic_;
}

// Asks which endpoints may be taken, at most once for each point in time; false: not again.
bool Picker::Refresh(MonoTime now) {
  if (refreshed_ == now) return false;
  refreshed_ = now;
  uint64_t wanted = 0;  // neither drained by weight nor kept away by the operator
  uint64_t healthy = 0;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    Endpoint& endpoint = *endpoints_[i];
    views_[i].eligible = false;
    if (!IsWanted(endpoint) || views_[i].weight == 0) continue;
    ++wanted;
    if (!IsHealthyNow(endpoint, now)) continue;
    ++healthy;
    views_[i].eligible = IsAdmitted(endpoint, now);
  }
  panic_ = healthy == 0 || healthy * 100 < wanted * rule_.panic_threshold;
  if (!panic_) return true;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    views_[i].eligible = IsWanted(*endpoints_[i]) && IsAdmitted(*endpoints_[i], now);
  }
  return true;
}

std::optional<size_t> Picker::PickAmongAll(const PickRequest& request) {
  if (!request.tried.empty()) Hide(request.tried);
  for (Tier& tier : tiers_) {
    const balancer::Tier range = tier.range();
    const auto views = ViewsOf(range);
    if (std::none_of(views.begin(), views.end(), balancer::MayPick)) continue;
    const auto picked = PickIn(tier, request);
    return picked ? std::optional(range.begin + *picked) : std::nullopt;
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
  const balancer::Tier range = tier.range();
  switch (type_) {
    case Type::kLeastConn:
      return balancer::PickLeastConn(
          ViewsOf(range), CountInFlight(range),
          {.rotation = tier.planned->rotation, .states = StatesOf(range), .cursor = tier.cursor});
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
  return balancer::PickRoundRobin(ViewsOf(range), StatesOf(range));
}

std::optional<size_t> Picker::PickOfTwo(const Tier& tier, MonoTime now) {
  const auto& draw = std::get<balancer::WeightedDraw>(tier.planned->table);
  const balancer::Tier range = tier.range();
  const auto views = ViewsOf(range);
  const auto in_flight = [&](size_t i) { return InFlight(range.begin + i); };
  if (type_ == Type::kRandom) return balancer::PickRandomTwo(draw, views, random_, in_flight);
  const auto pair = draw.DrawTwo(views, random_);
  if (!pair) return std::nullopt;
  const auto state = [&](size_t i) -> const auto& {
    return endpoints_[range.begin + i]->shared->ewma;
  };
  return kEwma.Lower(*pair, views, now, state, in_flight);
}

std::optional<size_t> Picker::PickHashed(const Tier& tier, std::string_view key) {
  const balancer::Tier range = tier.range();
  const auto views = ViewsOf(range);
  const UpstreamPlan::Table& table = tier.planned->table;
  if (rule_.balance_factor > 0) {
    const double factor = static_cast<double>(rule_.balance_factor) / 100;
    return Find(table, key, balancer::BoundedLoad(views, CountInFlight(range), factor));
  }
  return Find(table, key, [&](size_t i) { return balancer::MayPick(views[i]); });
}

uint32_t Picker::InFlight(size_t i) const { return EndpointTable::CountIn(*active_[i]); }

std::span<const uint32_t> Picker::CountInFlight(balancer::Tier range) {
  size_t i = range.begin;
  for (; i + balancer::kLanes <= range.end; i += balancer::kLanes) {
    balancer::StoreLanes(&in_flight_[i], InFlight(i), InFlight(i + 1), InFlight(i + 2),
                         InFlight(i + 3));
  }
  for (; i < range.end; ++i) in_flight_[i] = InFlight(i);
  return std::span(in_flight_).subspan(range.begin, range.size());
}

}  // namespace sluice
