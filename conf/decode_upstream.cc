// Upstreams in APISIX's fields, with nodes as a map or a list.
#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr uint16_t kHttpPort = 80;
constexpr uint16_t kHttpsPort = 443;
constexpr std::string_view kNodeExpected =
    "a node such as 127.0.0.1:80, name:80, [::1]:80 or unix:/path";

bool IsUnixPath(std::string_view path) { return SocketAddress::Make(path).has_value(); }

// Puts "name", "1.2.3.4", "[::1]" or "unix:/path" into the node; false when it is none of them.
bool SetHost(std::string_view text, NodeConfig& node) {
  if (text.starts_with("unix:")) {
    if (!text.starts_with("unix:/") || !IsUnixPath(text)) return false;
    node.host = text;
    node.port = 0;
    return true;
  }
  const bool bracketed = text.size() > 2 && text.front() == '[' && text.back() == ']';
  const std::string_view bare = bracketed ? text.substr(1, text.size() - 2) : text;
  const auto ip = IpAddress::Parse(bare);
  if (!ip && (bracketed || !IsHostName(bare))) return false;
  node.host = ip ? std::string(bare) : ToLower(bare);
  return true;
}

// "host:port" with an optional port, as the key of a node map.
std::optional<NodeConfig> ReadNodeKey(const Place& place, const Entry& entry) {
  const std::string_view key = entry.key;
  NodeConfig node;
  node.position = entry.key_position;
  size_t colon = std::string_view::npos;
  if (!key.starts_with("unix:")) {
    const size_t bracket = key.starts_with('[') ? key.find(']') : 0;
    colon = key.find(':', bracket == std::string_view::npos ? 0 : bracket);
  }
  const bool has_port = colon != std::string_view::npos;
  const auto port = has_port ? ParseDecimal(key.substr(colon + 1)) : std::nullopt;
  if (!has_port || (port && *port >= 1 && *port <= 65535)) {
    node.port = static_cast<uint16_t>(port.value_or(0));
    if (SetHost(key.substr(0, colon), node)) return node;
  }
  place.Of(entry).FailAt(entry.key_position,
                         "expected " + std::string(kNodeExpected) + ", got \"" + entry.key + "\"");
  return std::nullopt;
}

std::vector<NodeConfig> ReadNodeMap(const Place& place) {
  std::vector<NodeConfig> nodes;
  for (const Entry& entry : place.node.entries) {
    auto node = ReadNodeKey(place, entry);
    const auto weight = Integer<uint32_t>{}(place.Of(entry));
    if (!node || !weight) continue;
    node->weight = *weight;
    nodes.push_back(*std::move(node));
  }
  return nodes;
}

struct NodeHost {
  std::optional<NodeConfig> operator()(const Place& place) const {
    NodeConfig node;
    if (place.node.is_string() && SetHost(place.node.text, node)) return node;
    return place.Expected("a host name, an IP address or unix:/path");
  }
};

struct ListedNode {
  std::optional<NodeConfig> address;
  std::optional<uint16_t> port;
  uint32_t weight = 1;
  int32_t priority = 0;
};

// Descriptive in APISIX: what discovery knows about a node.
struct Metadata {
  std::optional<bool> operator()(const Place& place) const {
    if (place.node.is_map()) return true;
    return place.Expected("a map");
  }
};

std::optional<NodeConfig> ReadListedNode(const Place& place) {
  using T = ListedNode;
  static const Fields<T> kFields = {
      Required(Bind("host", &T::address, NodeHost{})),
      Bind("port", &T::port, Integer<uint16_t>{1, 65535}),
      Required(Bind("weight", &T::weight, Integer<uint32_t>{})),
      Bind("priority", &T::priority, Integer<int32_t>{}),
      Accept<T>("metadata", Metadata{}),
  };
  ListedNode listed;
  if (!ReadFields(place, kFields, listed) || !listed.address) return std::nullopt;
  NodeConfig node = *std::move(listed.address);
  const bool is_unix = node.host.starts_with("unix:");
  if (is_unix && listed.port) place.Fail("a unix: node has no port");
  node.port = is_unix ? uint16_t{0} : listed.port.value_or(0);
  node.weight = listed.weight;
  node.priority = listed.priority;
  node.position = place.node.position;
  return node;
}

struct Nodes {
  std::optional<std::vector<NodeConfig>> operator()(const Place& place) const {
    if (place.node.is_map()) return ReadNodeMap(place);
    if (!place.node.is_list()) {
      return place.Expected("a map of \"host:port\" to weight, or a list of {host, port, weight}");
    }
    std::vector<NodeConfig> nodes;
    for (size_t i = 0; i < place.node.items.size(); ++i) {
      if (auto node = ReadListedNode(place.Of(i))) nodes.push_back(*std::move(node));
    }
    return nodes;
  }
};

struct KeepalivePool {
  uint32_t size = 320;
  Duration idle = seconds(60);
  uint32_t requests = 1000;
};

Field<UpstreamConfig> KeepaliveField() {
  using T = KeepalivePool;
  static const Fields<T> kFields = {
      Bind("size", &T::size, Integer<uint32_t>{.min = 1}),
      Bind("idle_timeout", &T::idle, Seconds{.positive = false}),
      Bind("requests", &T::requests, Integer<uint32_t>{.min = 1}),
  };
  return {"keepalive_pool", [](const Place& place, UpstreamConfig& upstream) {
            KeepalivePool pool;
            ReadFields(place, kFields, pool);
            upstream.keepalive_size = pool.size;
            upstream.keepalive_idle = pool.idle;
            upstream.keepalive_requests = pool.requests;
          }};
}

const Fields<UpstreamConfig>& UpstreamFields() {
  using T = UpstreamConfig;
  using PassHost = UpstreamConfig::PassHost;
  static const Fields<T> kFields = [] {
    Fields<T> fields = {
        Bind("id", &T::id, Id{}),
        Bind("name", &T::name, Text{1, 256}),
        Accept<T>("desc", Text{0, 256}),
        Bind("scheme", &T::scheme,
             Choice<std::string>{{{"http", "http"},
                                  {"https", "https"},
                                  {"grpc", "grpc"},
                                  {"grpcs", "grpcs"},
                                  {"h2c", "h2c"},
                                  {"h2", "h2"}},
                                 {"tcp", "tls", "udp", "kafka"}}),
        Required(Bind("nodes", &T::nodes, Nodes{})),
        Bind("pass_host", &T::pass_host,
             Choice<PassHost>{{{"pass", PassHost::kPass},
                               {"node", PassHost::kNode},
                               {"rewrite", PassHost::kRewrite}}}),
        Bind("upstream_host", &T::upstream_host, HostValue{}),
        Bind("retries", &T::retries, Integer<uint32_t>{}),
        Bind("retry_timeout", &T::retry_timeout, Seconds{.positive = false}),
        Bind("timeout", &T::timeout, Timeouts{}),
        Bind("retry", &T::retry, RetryRules{}),
        Bind("circuit_breaker", &T::circuit_breaker, CircuitBreaker{}),
        Bind("limits", &T::limits, UpstreamLimit{}),
        KeepaliveField(),
        Bind("proxy_protocol", &T::proxy_protocol, Choice<uint8_t>{{{"v1", 1}, {"v2", 2}}}),
        Bind("checks", &T::checks, Checks{}),
        Bind("outlier_detection", &T::outlier, Outliers{}),
        Bind("healthy_panic_threshold", &T::healthy_panic_threshold, Integer<uint32_t>{0, 100}),
        Bind("tls", &T::tls, UpstreamTls{}),
        NotBuilt<T>("discovery_type"),
        NotBuilt<T>("discovery_args"),
        NotBuilt<T>("service_name"),
    };
    AddBalancing(fields);
    AddDescriptive(fields);
    return fields;
  }();
  return kFields;
}

}  // namespace

std::optional<std::string> HostValue::operator()(const Place& place) const {
  constexpr std::string_view kExpected = "a host name or IP address, with or without a port";
  if (!place.node.is_string()) return place.Expected(kExpected);
  std::string_view host = place.node.text;
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && !host.ends_with(']')) {
    const auto port = ParseDecimal(host.substr(colon + 1));
    if (!port || *port > 65535) return place.Expected(kExpected);
    host = host.substr(0, colon);
  }
  NodeConfig node;
  const bool v6_bare = host.find(':') != std::string_view::npos && !host.starts_with('[');
  if (v6_bare || host.starts_with("unix:") || !SetHost(host, node)) {
    return place.Expected(kExpected);
  }
  return place.node.text;
}

UpstreamConfig DecodeUpstream(const Place& place) {
  UpstreamConfig upstream;
  upstream.position = place.node.position;
  ReadFields(place, UpstreamFields(), upstream);
  FinishBalancing(place, upstream);
  const std::string& scheme = upstream.scheme;
  upstream.tls_scheme = scheme == "https" || scheme == "grpcs" || scheme == "h2";
  upstream.http2 = scheme != "http" && scheme != "https";
  const uint16_t port = upstream.tls_scheme ? kHttpsPort : kHttpPort;
  for (NodeConfig& node : upstream.nodes) {
    if (node.port == 0 && !node.host.starts_with("unix:")) node.port = port;
  }
  const bool https_checks = upstream.checks && upstream.checks->active.type == CheckType::kHttps;
  if (!upstream.tls_scheme && !https_checks && place.node.Find("tls") != nullptr) {
    place.Fail("tls has no effect with scheme " + scheme,
               "add scheme: https, grpcs or h2, or leave out tls");
  }
  if (upstream.proxy_protocol != 0 && upstream.http2) {
    place.Fail("proxy_protocol names one client, but clients share connections of scheme " +
               scheme);
  }
  if (upstream.healthy_panic_threshold > 0 && !upstream.checks && !upstream.outlier) {
    place.Fail("healthy_panic_threshold has no effect: nothing finds nodes unhealthy",
               "add checks or outlier_detection, or leave it out");
  }
  const bool rewrite = upstream.pass_host == UpstreamConfig::PassHost::kRewrite;
  const bool has_host = place.node.Find("upstream_host") != nullptr;
  if (rewrite && !has_host) {
    place.Fail("pass_host: rewrite needs \"upstream_host\", which is missing");
  } else if (!rewrite && has_host) {
    place.Fail("upstream_host has no effect without pass_host: rewrite",
               "add pass_host: rewrite, or leave out upstream_host");
  }
  return upstream;
}

}  // namespace sluice::conf
