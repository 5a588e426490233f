// The parts of the decoder, one .cc each. Internal to conf/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "conf/resources.h"
#include "conf/types.h"

namespace sluice::conf {

// Null: there is no gateway section, all defaults apply.
GatewayConfig DecodeGateway(const Place* place);

// A service is only a part of its routes, so it does not appear in Config.
struct ServiceConfig {
  std::string id;
  std::string name;
  std::vector<std::string> hosts;
  std::optional<UpstreamConfig> upstream;  // inline
  std::string upstream_id;
  Position upstream_id_position;
  bool enable_websocket = false;
  const Node* plugins = nullptr;
  Position position;
};

// A route with what is still to be resolved by ids.
struct RouteDraft {
  RouteConfig route;
  std::vector<std::string> single_uri, single_host;  // uri, host
  std::vector<Cidr> single_address;                  // remote_addr
  std::optional<UpstreamConfig> upstream;            // inline
  std::optional<bool> enable_websocket;              // none: what the service says
  std::string upstream_id, service_id, plugin_config_id;
  Position upstream_id_position, service_id_position, plugin_config_id_position;
  const Node* plugins = nullptr;
};

// Each diagnoses what is wrong and returns what it could read. The id is empty when none is given.
UpstreamConfig DecodeUpstream(const Place& place);
ServiceConfig DecodeService(const Place& place);
RouteDraft DecodeRoute(const Place& place);
SslConfig DecodeSsl(const Place& place);

// --- types that several parts need --------------------------------------------------------------

// A `plugins` map, which the snapshot reads.
struct PluginsMap {
  std::optional<const Node*> operator()(const Place& place) const;
};

// Calls `read` for each item of the list `name`, if it is there.
template <typename Read>
void ForEach(const Place& root, std::string_view name, Read read) {
  const Node* list = root.node.Find(name);
  if (list == nullptr || list->kind == Node::Kind::kNull) return;
  const Place place{*list, root.diagnostics, &root, name};
  if (!list->is_list()) {
    place.Expected("a list");
    return;
  }
  for (size_t i = 0; i < list->items.size(); ++i) read(place.Of(i));
}

// 1 to 64 of a-z A-Z 0-9 - _ .
bool IsIdText(std::string_view text);

// An APISIX id: such a text or an integer from 1.
struct Id {
  std::optional<std::string> operator()(const Place& place) const;
};

// A host pattern: a name, an address, "*.name" or "*"; lower case.
struct HostPattern {
  std::optional<std::string> operator()(const Place& place) const;
};

// APISIX's labels: a map of short texts without white space.
struct Labels {
  std::optional<bool> operator()(const Place& place) const;
};

struct AddressRange {
  std::optional<Cidr> operator()(const Place& place) const;
};

// {connect, send, read} in seconds, and ours: total.
struct Timeouts {
  std::optional<UpstreamTimeouts> operator()(const Place& place) const;
};

// What a Host field is rewritten to: a name or an address, perhaps with a port.
struct HostValue {
  std::optional<std::string> operator()(const Place& place) const;
};

// upstream.checks, upstream.outlier_detection
struct Checks {
  std::optional<ChecksConfig> operator()(const Place& place) const;
};
struct Outliers {
  std::optional<OutlierDetection> operator()(const Place& place) const;
};

// gateway.tls
struct GatewayTls {
  std::optional<GatewayTlsConfig> operator()(const Place& place) const;
};

// upstream.tls
struct UpstreamTls {
  std::optional<UpstreamTlsConfig> operator()(const Place& place) const;
};

// The fields of an upstream that say how a node is chosen, and what they say together.
void AddBalancing(Fields<UpstreamConfig>& fields);
void FinishBalancing(const Place& place, UpstreamConfig& upstream);

// upstream.retry
struct RetryRules {
  std::optional<RetryConfig> operator()(const Place& place) const;
};

// upstream.circuit_breaker
struct CircuitBreaker {
  std::optional<CircuitBreakerConfig> operator()(const Place& place) const;
};

// upstream.limits
struct UpstreamLimit {
  std::optional<UpstreamLimits> operator()(const Place& place) const;
};

// A DNS name (letters, digits, '-', '_', labels of 1 to 63, at most 253 in all) that does not look
// like a broken IPv4 address.
bool IsHostName(std::string_view text);

// The fields that describe an object and change nothing.
template <typename T>
void AddDescriptive(Fields<T>& fields) {
  fields.push_back(Accept<T>("labels", Labels{}));
  fields.push_back(Accept<T>("create_time", Integer<int64_t>{}));
  fields.push_back(Accept<T>("update_time", Integer<int64_t>{}));
}

}  // namespace sluice::conf
