#include "gateway/proxy/resolved_nodes.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "gateway/net/resolver.h"

namespace sluice {
namespace {

std::string IdentityOf(const conf::NodeConfig& node) {
  return node.host + ":" + std::to_string(node.port);
}

}  // namespace

void ResolvedNodes::Update(std::span<const conf::NodeConfig> nodes, Resolver* resolver) {
  // There may be many thousands: found by a hash. A node that is listed twice is known twice.
  std::unordered_multimap<std::string, Node> previous;
  for (Node& node : std::exchange(nodes_, {})) {
    std::string identity = IdentityOf(node.config);
    previous.emplace(std::move(identity), std::move(node));
  }
  nodes_.reserve(nodes.size());
  for (const conf::NodeConfig& wanted : nodes) {
    Node node;
    if (const auto same = previous.find(IdentityOf(wanted)); same != previous.end()) {
      node = std::move(previous.extract(same).mapped());
    }
    node.config = wanted;
    if (node.name == nullptr) node.address = LiteralAddress(wanted);
    if (node.name == nullptr && !node.address && resolver != nullptr) {
      node.name = std::make_unique<ResolvedName>(loop_, *resolver, wanted.host, on_change_);
    }
    nodes_.push_back(std::move(node));
  }
}

bool ResolvedNodes::is_resolving() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const Node& node) {
    return node.name != nullptr && node.name->addresses().empty() && !node.name->error();
  });
}

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

std::string HostAndPort(const conf::NodeConfig& node) {
  if (node.host.starts_with("unix:")) return "localhost";
  if (node.port == 0 || node.port == 80) return node.host;
  const bool bracket = node.host.find(':') != std::string::npos && !node.host.starts_with('[');
  return (bracket ? "[" + node.host + "]" : node.host) + ":" + std::to_string(node.port);
}

}  // namespace sluice
