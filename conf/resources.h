// The typed configuration: what the decoder makes of a document after every check that needs no
// other process. Plain structs; defaults are the documented ones. Immutable once decoded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/checks.h"
#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "conf/plugin_sets.h"
#include "conf/resilience.h"
#include "gateway/base/address.h"
#include "gateway/base/log.h"
#include "gateway/base/time.h"

namespace sluice::conf {

// Does a client's connection begin with a header of the PROXY protocol?
enum class ProxyHeaders : uint8_t { kNo, kRequired, kOptional };

struct ListenConfig {
  SocketAddress address;
  int backlog = 4096;
  bool tls = false;  // refused until TLS is built
  bool http2 = false;
  ProxyHeaders proxy_protocol = ProxyHeaders::kNo;
  Position position;
};

struct AccessLogConfig {
  bool enabled = true;
  std::string path = "/var/log/sluice/access.log";
  std::string format = "combined";  // "combined", "json" or a template with $variables
};

struct ErrorLogConfig {
  std::string path = "stderr";
  LogLevel level = LogLevel::kInfo;
};

struct MetricsConfig {
  bool enabled = true;
  SocketAddress address;       // where the controller serves them
  uint32_t max_routes = 1000;  // with series of their own; the others share some
  bool compat = true;          // also with APISIX's names
};

struct TimeoutConfig {
  Duration header = seconds(10);
  Duration body = seconds(30);
  Duration send = seconds(30);
  Duration keepalive = seconds(75);
  Duration shutdown = seconds(30);
};

struct LimitConfig {
  uint32_t worker_connections = 65536;  // client connections of one worker
  uint32_t request_line = 16 * 1024;
  uint32_t header_size = 64 * 1024;
  uint32_t header_count = 200;
  uint32_t http2_streams = 128;     // of one HTTP/2 connection at one time
  uint32_t min_body_rate = 240;     // bytes per second of a request body; 0: none
  uint64_t limit_keys = 1'000'000;  // that limits of plugins remember, of the whole host
};

// How listeners with TLS choose among `ssls` and negotiate.
struct GatewayTlsConfig {
  std::string default_ssl;              // its id; empty: the first, or the one with the name *
  bool reject_unknown_sni = false;      // false: the default certificate is shown
  std::string ciphers;                  // in OpenSSL's names; empty: modern ones
  Duration ticket_rotation = hours(1);  // how long one key seals session tickets
  Position position;
};

struct GatewayConfig {
  int workers = 0;   // 0: auto
  std::string user;  // empty: stay who we are (www-data when started as root)
  std::vector<ListenConfig> listen;
  std::string control = "/run/sluice/control.sock";
  std::string state_dir = "/var/lib/sluice";
  std::string pid = "/run/sluice/sluice.pid";
  AccessLogConfig access_log;
  ErrorLogConfig error_log;
  MetricsConfig metrics;
  std::vector<Cidr> trusted_proxies;
  std::string via;                    // pseudonym for the Via field; empty: no Via
  uint64_t client_max_body_size = 0;  // 0: no limit
  GatewayTlsConfig tls;
  TimeoutConfig timeouts;
  LimitConfig limits;
};

// A certificate, key or pattern, checked by those who use it, and where it stands.
struct PemText {
  std::string text;
  std::string path;  // "ssls[0].cert"
  Position position;
};

struct SslClientConfig {
  PemText ca;
  int depth = 1;
  std::vector<PemText> skip_mtls_uri_regex;  // requests that need no certificate
};

struct TlsProtocols {
  bool tls12 = true;
  bool tls13 = true;
};

struct SslConfig {
  struct Pair {
    PemText cert, key;
    PemText ocsp;  // base64; empty: nothing to staple
  };

  std::string id;
  bool for_upstreams = false;     // type: client
  std::vector<std::string> snis;  // lower case: exact, "*.name" or "*"
  std::vector<Pair> pairs;
  std::optional<SslClientConfig> client;
  TlsProtocols protocols;
  bool enabled = true;  // status: 1
  std::string path;     // "ssls[0]"
  Position position;
};

// How connections to an upstream of scheme https are secured.
struct UpstreamTlsConfig {
  bool verify = true;
  PemText ca;         // empty: the system's authorities
  PemText cert, key;  // ours; empty: none, or client_cert
  std::string client_cert_id;
  int32_t client_cert = -1;  // index into Config::ssls
  std::string path;
  Position position;
};

struct NodeConfig {
  std::string host;   // a name, an address, or "unix:/path"
  uint16_t port = 0;  // 0 only for unix
  uint32_t weight = 1;
  int32_t priority = 0;
  Position position;
};

struct UpstreamTimeouts {
  Duration connect = seconds(60);
  Duration send = seconds(60);
  Duration read = seconds(60);
  Duration total{};  // of the whole exchange with all attempts; zero: none
};

// What requests are hashed by, compiled by gateway/routing/hash_key.
struct HashKeyConfig {
  enum class Source : uint8_t { kVariable, kHeader, kCookie, kCombination };

  Source source = Source::kVariable;  // hash_on
  std::string key;
  std::string path;  // "upstreams[0].key"
  Position position;
};

struct UpstreamConfig {
  enum class PassHost : uint8_t { kPass, kNode, kRewrite };
  enum class Balancer : uint8_t { kRoundRobin, kLeastConn, kChash, kMaglev, kEwma, kRandom };

  // Stable identity that outlives a reload: "upstream/1", or "route/hello" and "service/x" for an
  // inline one. Run-time state is kept under this name.
  std::string key;
  std::string id;
  std::string name;
  Balancer balancer = Balancer::kRoundRobin;  // type
  std::optional<HashKeyConfig> hash_key;      // kChash and kMaglev
  uint32_t hash_balance_factor = 0;           // percent of the fair share, from 100; 0: no bound
  std::string scheme = "http";
  bool http2 = false;       // as the scheme says
  bool tls_scheme = false;  // the same
  std::vector<NodeConfig> nodes;
  PassHost pass_host = PassHost::kPass;
  std::string upstream_host;        // kRewrite
  std::optional<uint32_t> retries;  // default: number of nodes - 1
  UpstreamTlsConfig tls;            // with tls_scheme
  Duration retry_timeout{};         // zero: no limit
  UpstreamTimeouts timeout;
  std::optional<ChecksConfig> checks;
  std::optional<OutlierDetection> outlier;
  uint32_t healthy_panic_threshold = 0;  // percent; below it all nodes are used; 0: when none is
  RetryConfig retry;
  std::optional<CircuitBreakerConfig> circuit_breaker;
  UpstreamLimits limits;

  uint32_t keepalive_size = 320;
  Duration keepalive_idle = seconds(60);
  uint32_t keepalive_requests = 1000;
  uint8_t proxy_protocol = 0;  // version of the header that each connection begins with; 0: none
  Position position;
};

// "roundrobin", as the field `type` has it.
std::string_view NameOf(UpstreamConfig::Balancer balancer);

struct RouteConfig {
  std::string id;
  std::string name;
  std::string desc;
  std::string service_id;            // empty: none
  std::vector<std::string> uris;     // uri and uris together
  std::vector<std::string> hosts;    // lower case; own ones, or the service's
  std::vector<std::string> methods;  // empty: any
  std::vector<Cidr> remote_addrs;    // empty: any
  const Node* vars = nullptr;        // into Config::document; null: none
  int32_t priority = 0;
  bool enabled = true;            // status: 1
  bool enable_websocket = false;  // the route's, or else the service's
  int32_t upstream = -1;          // index into Config::upstreams; -1: none (503 at run time)
  std::string service_name;
  std::optional<UpstreamTimeouts> timeout;  // the route's own, before the upstream's
  std::vector<int32_t> plugin_sets;  // in Config::plugins; what a nearer one has, hides the further
  Position position;
};

struct Config {
  GatewayConfig gateway;
  std::vector<RouteConfig> routes;
  std::vector<UpstreamConfig> upstreams;  // named and inline ones
  std::vector<SslConfig> ssls;
  PluginsConfig plugins;
  // Of upstreams in the configuration of plugins, and references to one: index into `upstreams`.
  std::unordered_map<const Node*, int32_t> plugin_upstreams;
  Node document;            // after includes and substitution
  Diagnostics diagnostics;  // sources, for Locate
};

// Reads and checks a configuration file with its includes. Touches nothing else: no bind, no DNS.
// Null when `diagnostics` has something to say. `document` is canonical: ToJson of it, given to
// DecodeDocument, yields the same configuration in another process.
std::shared_ptr<const Config> LoadFile(const std::string& path, Diagnostics& diagnostics);

// The same for a document in memory, e.g. from the controller; positions refer to it.
std::shared_ptr<const Config> DecodeDocument(std::string_view json, Diagnostics& diagnostics);

}  // namespace sluice::conf
