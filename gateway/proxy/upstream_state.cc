#include "gateway/proxy/upstream_state.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/upstream_connection.h"

namespace sluice {

bool IsNodeName(const conf::NodeConfig& node) { return !LiteralAddress(node); }

Endpoint::Endpoint(std::shared_ptr<EndpointTable> table, std::string_view upstream,
                   const SocketAddress& where)
    : address(where), name(where.ToString()), shared(std::move(table), upstream, name) {}

Endpoint::~Endpoint() = default;

UpstreamState::UpstreamState(Loop& loop, Resolver* resolver, std::shared_ptr<EndpointTable> table,
                             std::string key, uint64_t seed)
    : loop_(loop),
      resolver_(resolver),
      table_(std::move(table)),
      key_(std::move(key)),
      admission_(loop, table_, key_, seed),
      nodes_(loop, [this] { PlanSoon(); }),
      picker_(seed) {}

UpstreamState::~UpstreamState() {
  for (const auto& endpoint : endpoints_) endpoint->breaker = nullptr;
}

void UpstreamState::Update(const conf::UpstreamConfig& config,
                           std::shared_ptr<const UpstreamPlan> plan) {
  checked_ = config.checks.has_value();
  type_ = config.balancer;
  admission_.Update(config);
  rule_ = {.balance_factor = config.hash_balance_factor,
           .panic_threshold = config.healthy_panic_threshold};
  planning_.reset();  // it was for other nodes
  if (plan != nullptr) {
    nodes_.Update({}, nullptr);
    planning_waits_ = false;
    Adopt(std::move(plan));
    return WakeWaiters();
  }
  nodes_.Update(config.nodes, resolver_);
  if (plan_ != nullptr) {
    RetireRemoved();
    Adopt(plan_);  // with the other settings
  }
  Plan();
}

void UpstreamState::Retire() {
  planning_.reset();
  planning_waits_ = false;
  nodes_.Update({}, nullptr);
  Adopt(UpstreamPlan::Make(type_, {}, nullptr));
  WakeWaiters();
}

// What a committed configuration does not name gets no more requests from now on.
void UpstreamState::RetireRemoved() {
  std::unordered_set<std::string> wanted;
  nodes_.ForEach([&](const SocketAddress& address, const conf::NodeConfig&) {
    wanted.insert(address.ToString());
  });
  for (const auto& endpoint : endpoints_) {
    if (!wanted.contains(endpoint->name)) RetireEndpoint(*endpoint);
  }
}

void UpstreamState::PlanSoon() {
  names_changed_ = true;
  if (is_planning()) return;
  const Duration delay = plan_pace_.Wait(loop_.now());
  if (delay == Duration::zero()) return Plan();
  if (planning_timer_ == nullptr) planning_timer_ = std::make_unique<Timer>(loop_);
  planning_waits_ = true;
  planning_timer_->Start(delay, [this] {
    if (std::exchange(planning_waits_, false)) Plan();
  });
}

void UpstreamState::Plan() {
  planning_waits_ = names_changed_ = false;
  auto planning = std::make_shared<Planning>();
  nodes_.ForEach([&](const SocketAddress& address, const conf::NodeConfig& node) {
    planning->endpoints.emplace_back(address, node);
  });
  // One that was retired too early comes back as another: not with the same plan.
  const bool retired = std::any_of(endpoints_.begin(), endpoints_.end(),
                                   [](const auto& endpoint) { return endpoint->retired; });
  if (!retired) planning->plan = plan_;
  planning_ = planning;
  // Only a plan that is still wanted finds its way back: this object may be gone by then.
  std::weak_ptr<Planning> wanted = planning;
  loop_.RunOffLoop(
      [planning = std::move(planning), type = type_]() mutable {
        planning->plan = UpstreamPlan::Make(type, std::move(planning->endpoints), planning->plan);
        planning.reset();
      },
      [this, wanted] {
        if (const auto planned = wanted.lock()) OnPlanned(*planned);
      });
}

void UpstreamState::OnPlanned(Planning& planned) {
  const auto done = std::exchange(planning_, nullptr);
  const MonoTime begin = MonoNow();
  Adopt(std::move(planned.plan));
  plan_pace_.OnAdopted(loop_.now(), MonoNow() - begin);
  if (names_changed_) PlanSoon();
  WakeWaiters();
}

void UpstreamState::WakeWaiters() {
  IntrusiveList<Waiter> woken;
  while (Waiter* waiter = waiters_.PopFront()) woken.PushBack(*waiter);
  while (Waiter* waiter = woken.PopFront()) waiter->OnEndpointsChanged();
}

void UpstreamState::Adopt(std::shared_ptr<const UpstreamPlan> plan) {
  if (plan != plan_) {
    TakeEndpoints(*plan);
    plan_ = std::move(plan);
    if (!plan_->error().empty()) {
      Log(LogLevel::kError, "keys cannot be hashed, nodes take turns instead",
          {{"upstream", key_}, {"reason", plan_->error()}});
    }
  }
  for (const auto& endpoint : endpoints_) {
    endpoint->checked = checked_;
    if (!endpoint->retired) endpoint->breaker = admission_.endpoint_breaker();
  }
  picker_.Update(rule_, plan_, endpoints_, loop_.now());
}

// Endpoints that stay keep connections and state.
void UpstreamState::TakeEndpoints(const UpstreamPlan& plan) {
  std::unordered_multimap<std::string_view, std::shared_ptr<Endpoint>> old;
  for (const auto& endpoint : endpoints_) {
    if (!endpoint->retired) old.emplace(endpoint->name, endpoint);
  }
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  endpoints.reserve(plan.endpoints().size());
  for (const PlannedEndpoint& planned : plan.endpoints()) {
    const auto found = old.find(planned.name);
    auto endpoint = found == old.end() ? std::make_shared<Endpoint>(table_, key_, planned.address)
                                       : std::move(old.extract(found).mapped());
    endpoint->node_host = planned.node_host;
    endpoint->shared->weight = planned.weight;
    endpoint->shared->priority = planned.priority;
    endpoints.push_back(std::move(endpoint));
  }
  endpoints_.swap(endpoints);
  for (const auto& [name, endpoint] : old) RetireEndpoint(*endpoint);
}

void UpstreamState::ObserveFailure(Endpoint& endpoint, Duration latency, MonoTime now) const {
  // More than usual answers take, little enough to be forgotten within a minute.
  constexpr Duration kLeast = seconds(1);
  if (picker_.weighs_latency()) ObserveLatency(endpoint, std::max(latency, kLeast), now);
}

std::shared_ptr<Endpoint> UpstreamState::Pick(const PickRequest& request) {
  const std::optional<size_t> picked = picker_.Pick(request);
  return picked ? endpoints_[*picked] : nullptr;
}

bool UpstreamState::WantsLatency() {
  constexpr uint32_t kSample = 16;
  return picker_.weighs_latency() || ++attempts_ % kSample == 0;
}

void UpstreamState::ObserveLatency(Endpoint& endpoint, Duration latency, MonoTime now) {
  balancer::Ewma().Observe(endpoint.shared->ewma, latency, now);
}

uint64_t UpstreamState::CountActive() const {
  uint64_t active = 0;
  for (const auto& endpoint : endpoints_) {
    active += endpoint->shared.count(EndpointTable::Counter::kActive);
  }
  return active;
}

std::optional<Duration> UpstreamState::CircuitDelay(MonoTime now) const {
  std::optional<Duration> shortest;
  for (const auto& endpoint : endpoints_) {
    const balancer::Breaker* breaker = endpoint->breaker;
    if (breaker == nullptr || breaker->MayAdmit(endpoint->shared->breaker, now)) continue;
    const balancer::BreakerView view = breaker->Read(endpoint->shared->breaker, now);
    const Duration delay = std::max<Duration>(view.time - now, milliseconds(1));
    shortest = std::min(shortest.value_or(delay), delay);
  }
  return shortest;
}

bool UpstreamState::CloseIdle() {
  for (const auto& endpoint : endpoints_) {
    if (UpstreamConnection* longest = endpoint->idle.front()) {
      longest->Abort();
      return true;
    }
    for (Http2Upstream* connection = endpoint->http2.front(); connection != nullptr;
         connection = endpoint->http2.Next(*connection)) {
      if (!connection->is_idle()) continue;
      connection->Abort();
      return true;
    }
  }
  return false;
}

void RetireEndpoint(Endpoint& endpoint) {
  endpoint.retired = true;
  endpoint.breaker = nullptr;
  while (UpstreamConnection* connection = endpoint.idle.back()) connection->Abort();
  while (Http2Upstream* connection = endpoint.http2.front()) connection->Retire();
}

}  // namespace sluice
