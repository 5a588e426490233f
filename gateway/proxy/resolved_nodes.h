// The nodes of an upstream as socket addresses: literal ones at once, names by the resolver, which
// keeps them fresh. Owned by whoever deals with the upstream in its process; loop and resolver
// outlive it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/address.h"
#include "gateway/net/loop.h"
#include "gateway/net/resolved_name.h"

namespace sluice {

class Resolver;

class ResolvedNodes {
 public:
  // `on_change` is called, never from Update, when the addresses of a name have changed or its
  // look-up failed.
  ResolvedNodes(Loop& loop, std::function<void()> on_change)
      : loop_(loop), on_change_(std::move(on_change)) {}
  ResolvedNodes(const ResolvedNodes&) = delete;
  ResolvedNodes& operator=(const ResolvedNodes&) = delete;

  // Nodes that stay keep what is known of them. `resolver` may be null when no node is a name.
  void Update(std::span<const conf::NodeConfig> nodes, Resolver* resolver);

  // A name was never resolved yet, and it is not known to fail.
  bool is_resolving() const;

  // visit(const SocketAddress&, const conf::NodeConfig&)
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Node& node : nodes_) {
      if (node.address) visit(*node.address, node.config);
      if (node.name == nullptr) continue;
      for (const IpAddress& ip : node.name->addresses()) {
        visit(SocketAddress::FromIp(ip, node.config.port), node.config);
      }
    }
  }

 private:
  struct Node {
    conf::NodeConfig config;
    std::optional<SocketAddress> address;  // of an IP or UNIX node
    std::unique_ptr<ResolvedName> name;    // of any other
  };

  Loop& loop_;
  const std::function<void()> on_change_;
  std::vector<Node> nodes_;
};

// The address of a node that needs no look-up: an IP address or a UNIX path.
std::optional<SocketAddress> LiteralAddress(const conf::NodeConfig& node);

// Host and port of the node as configured, as a Host field names it: the port only when it is not
// 80.
std::string HostAndPort(const conf::NodeConfig& node);

}  // namespace sluice
