#include "gateway/proxy/upstream_state.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/upstream_connection.h"

namespace sluice {

bool IsNodeName(const conf::NodeConfig& node) { return !LiteralAddress(node); }

Endpoint::Endpoint(std::shared_ptr<EndpointTable> table, std::string_view upstream,
                   const SocketAddress& where)
    : address(where), name(where.ToString()), shared(std::move(table), upstream, name) {}

Endpoint::~Endpoint() = default;

UpstreamState::UpstreamState(Loop& loop, Resolver* resolver, std::shared_ptr<EndpointTable> table,
                             const conf::UpstreamConfig& config, uint64_t seed)
    : loop_(loop),
      resolver_(resolver),
      table_(std::move(table)),
      key_(config.key),
      admission_(loop, table_, key_, seed),
      nodes_(loop, [this] { OnNamesChanged(); }),
      picker_(seed) {
  Update(config);
}

UpstreamState::~UpstreamState() {
  for (const auto& endpoint : endpoints_) endpoint->breaker = nullptr;
}

void UpstreamState::Update(const conf::UpstreamConfig& config) {
  checked_ = config.checks.has_value();
  admission_.Update(config);
  nodes_.Update(config.nodes, resolver_);
  rule_ = {.type = config.balancer, .balance_factor = config.hash_balance_factor};
  Rebuild();
}

void UpstreamState::Retire() {
  nodes_.Update({}, nullptr);
  Rebuild();
}

// Makes the endpoint list anew from the nodes; endpoints that stay keep connections and state.
void UpstreamState::Rebuild() {
  std::unordered_multimap<std::string_view, std::shared_ptr<Endpoint>> old;
  for (const auto& endpoint : endpoints_) old.emplace(endpoint->name, endpoint);
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  const auto add = [&](const SocketAddress& address, const conf::NodeConfig& config) {
    const auto found = old.find(address.ToString());
    auto endpoint = found == old.end() ? std::make_shared<Endpoint>(table_, key_, address)
                                       : std::move(old.extract(found).mapped());
    endpoint->node_host = HostAndPort(config);
    endpoint->weight = config.weight;
    endpoint->priority = config.priority;
    endpoint->checked = checked_;
    endpoint->shared->weight = config.weight;
    endpoint->shared->priority = config.priority;
    endpoint->breaker = admission_.endpoint_breaker();
    endpoints.push_back(std::move(endpoint));
  };
  nodes_.ForEach(add);
  std::stable_sort(endpoints.begin(), endpoints.end(),
                   [](const auto& a, const auto& b) { return a->priority > b->priority; });
  picker_.Update(rule_, endpoints, loop_.now());
  endpoints_ = std::move(endpoints);
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

void UpstreamState::OnNamesChanged() {
  Rebuild();
  IntrusiveList<Waiter> woken;
  while (Waiter* waiter = waiters_.PopFront()) woken.PushBack(*waiter);
  while (Waiter* waiter = woken.PopFront()) waiter->OnEndpointsChanged();
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
