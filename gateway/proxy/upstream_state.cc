#include "gateway/proxy/upstream_state.h"

#include <algorithm>
#include <utility>

#include "gateway/net/resolved_name.h"
#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/upstream_connection.h"

namespace sluice {
namespace {

std::string HostAndPort(const conf::NodeConfig& node) {
  if (node.host.starts_with("unix:")) return "localhost";
  if (node.port == 0 || node.port == 80) return node.host;
  const bool bracket = node.host.find(':') != std::string::npos && !node.host.starts_with('[');
  return (bracket ? "[" + node.host + "]" : node.host) + ":" + std::to_string(node.port);
}

// The address of a node that needs no look-up: an IP address or a UNIX path.
std::optional<SocketAddress> LiteralAddress(const conf::NodeConfig& node) {
  std::string_view host = node.host;
  if (host.starts_with("unix:")) {
    const auto address = SocketAddress::Make(host);
    return address.has_value() ? std::optional(*address) : std::nullopt;
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto ip = IpAddress::Parse(host);
  return ip ? std::optional(SocketAddress::FromIp(*ip, node.port)) : std::nullopt;
}

}  // namespace

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
    : loop_(loop), resolver_(resolver), table_(std::move(table)), key_(config.key), seed_(seed) {
  Update(config);
}

UpstreamState::~UpstreamState() = default;

void UpstreamState::Update(const conf::UpstreamConfig& config) {
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

// Makes the endpoint list anew from the nodes; endpoints that stay keep connections and rotation.
void UpstreamState::Rebuild() {
  const std::vector<std::shared_ptr<Endpoint>> old_endpoints = std::exchange(endpoints_, {});
  const std::vector<balancer::RoundRobinState> old_rotation = std::exchange(rotation_, {});
  const auto add = [&](const SocketAddress& address, const conf::NodeConfig& config) {
    const std::string name = address.ToString();
    const auto found = std::find_if(old_endpoints.begin(), old_endpoints.end(),
                                    [&](const auto& endpoint) { return endpoint->name == name; });
    auto endpoint =
        found == old_endpoints.end() ? std::make_shared<Endpoint>(table_, key_, address) : *found;
    endpoint->node_host = HostAndPort(config);
    endpoint->weight = config.weight;
    endpoint->priority = config.priority;
    endpoints_.push_back(std::move(endpoint));
  };
  for (const auto& node : nodes_) {
    if (node->address) add(*node->address, node->config);
    if (node->name == nullptr) continue;
    for (const IpAddress& ip : node->name->addresses()) {
      add(SocketAddress::FromIp(ip, node->config.port), node->config);
    }
  }
  std::stable_sort(endpoints_.begin(), endpoints_.end(),
                   [](const auto& a, const auto& b) { return a->priority > b->priority; });
  RebuildRotation(old_endpoints, old_rotation);
  for (const auto& endpoint : old_endpoints) {
    if (std::find(endpoints_.begin(), endpoints_.end(), endpoint) == endpoints_.end()) {
      RetireEndpoint(*endpoint);
    }
  }
}

void UpstreamState::RebuildRotation(std::span<const std::shared_ptr<Endpoint>> old_endpoints,
                                    std::span<const balancer::RoundRobinState> old_rotation) {
  views_.clear();
  for (const auto& endpoint : endpoints_) {
    views_.push_back({.weight = endpoint->weight, .eligible = true});
    const auto found = std::find(old_endpoints.begin(), old_endpoints.end(), endpoint);
    rotation_.push_back(found == old_endpoints.end()
                            ? balancer::RoundRobinState()
                            : old_rotation[static_cast<size_t>(found - old_endpoints.begin())]);
  }
  if (old_endpoints.empty()) balancer::StartPhase(views_, rotation_, seed_);
}

std::shared_ptr<Endpoint> UpstreamState::Pick(std::span<const std::shared_ptr<Endpoint>> tried) {
  if (!tried.empty()) MarkTried(tried, false);
  std::shared_ptr<Endpoint> picked;
  for (size_t begin = 0; begin < endpoints_.size() && picked == nullptr;) {
    size_t end = begin + 1;
    while (end < endpoints_.size() && endpoints_[end]->priority == endpoints_[begin]->priority) {
      ++end;
    }
    const auto index = balancer::PickRoundRobin(std::span(views_).subspan(begin, end - begin),
                                                std::span(rotation_).subspan(begin, end - begin));
    if (index) picked = endpoints_[begin + *index];
    begin = end;
  }
  if (!tried.empty()) MarkTried(tried, true);
  return picked;
}

void UpstreamState::MarkTried(std::span<const std::shared_ptr<Endpoint>> tried, bool eligible) {
  for (const auto& endpoint : tried) {
    const auto found = std::find(endpoints_.begin(), endpoints_.end(), endpoint);
    if (found == endpoints_.end()) continue;
    views_[static_cast<size_t>(found - endpoints_.begin())].eligible = eligible;
  }
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

void RetireEndpoint(Endpoint& endpoint) {
  endpoint.retired = true;
  while (UpstreamConnection* connection = endpoint.idle.back()) connection->Abort();
  while (Http2Upstream* connection = endpoint.http2.front()) connection->Retire();
}

}  // namespace sluice
