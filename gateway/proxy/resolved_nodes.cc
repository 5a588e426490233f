#include "gateway/proxy/resolved_nodes.h"

#include <algorithm>
#include <utility>

#include "gateway/net/resolver.h"

namespace sluice {

void ResolvedNodes::Update(std::span<const conf::NodeConfig> nodes, Resolver* resolver) {
  std::vector<Node> previous = std::exchange(nodes_, {});
  for (const conf::NodeConfig& wanted : nodes) {
    const auto same = std::find_if(previous.begin(), previous.end(), [&](const Node& node) {
      return node.config.host == wanted.host && node.config.port == wanted.port;
    });
    Node node;
    if (same != previous.end()) node = std::exchange(*same, {});
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
