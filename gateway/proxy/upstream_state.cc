#include "gateway/proxy/upstream_state.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "gateway/net/resolved_name.h"
#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/resolved_nodes.h"
#include "gateway/proxy/upstream_connection.h"

namespace sluice {

bool IsNodeName(const conf::NodeConfig& node) { return !LiteralAddress(node); }

struct UpstreamState::Node {
  conf::NodeConfig config;
  std::optional<SocketAddress> address;  // of an IP or UNIX node
  std::unique_ptr<ResolvedName> name;    // of any other
};

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
      picker_(seed) {
  Update(config);
}

UpstreamState::~UpstreamState() {
  for (const auto& endpoint : endpoints_) endpoint->breaker = nullptr;
}

void UpstreamState::Update(const conf::UpstreamConfig& config) {
  checked_ = config.checks.has_value();
  admission_.Update(config);
  std::vector<std::unique_ptr<Node>> previous = std::exchange(nodes_, {});
  for (const conf::NodeConfig& wanted : config.nodes) {
    const auto same = std::find_if(previous.begin(), previous.end(), [&](const auto& node) {
      return node != nullptr && node->config.host == wanted.host &&
             node->config.port == wanted.port;
    });
    std::unique_ptr<Node> node;
    if (same != previous.end()) {
      node = std::move(*same);
    } else {
      node = std::make_unique<Node>();
    }
    node->config = wanted;
    if (node->name == nullptr && !node->address) Locate(*node);
    nodes_.push_back(std::move(node));
  }
  rule_ = {.type = config.balancer, .balance_factor = config.hash_balance_factor};
  Rebuild();
}

void UpstreamState::Locate(Node& node) {
  node.address = LiteralAddress(node.config);
  if (node.address || resolver_ == nullptr) return;
  node.name = std::make_unique<ResolvedName>(loop_, *resolver_, node.config.host, [this] {
    Rebuild();
    WakeWaiters();
  });
}

void UpstreamState::Retire() {
  nodes_.clear();
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
  for (const auto& node : nodes_) {
    if (node->address) add(*node->address, node->config);
    if (node->name == nullptr) continue;
    for (const IpAddress& ip : node->name->addresses()) {
      add(SocketAddress::FromIp(ip, node->config.port), node->config);
    }
  }
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

bool UpstreamState::is_resolving() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) {
    return node->name != nullptr && node->name->addresses().empty() && !node->name->error();
  });
}

void UpstreamState::WakeWaiters() {
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
