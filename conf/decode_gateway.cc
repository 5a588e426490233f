// The gateway section: process settings.
#include <algorithm>
#include <unordered_map>

#include "conf/decode.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr std::string_view kDefaultListen = "0.0.0.0:9080";
constexpr std::string_view kDefaultMetrics = "127.0.0.1:9091";  // as APISIX's
// What metrics have room for (MetricSlabs::kMaxRoutes).
constexpr uint32_t kMostMetricRoutes = 8000;
constexpr int kMaximumWorkers = 512;

struct Workers {
  std::optional<int> operator()(const Place& place) const {
    const Node& node = place.node;
    if (node.is_string() && node.text == "auto") return 0;
    const bool in_range = node.integer >= 1 && node.integer <= kMaximumWorkers;
    if (node.kind == Node::Kind::kInteger && in_range) return static_cast<int>(node.integer);
    return place.Expected("auto or an integer from 1 to " + std::to_string(kMaximumWorkers));
  }
};

struct ListenAddress {
  std::optional<SocketAddress> operator()(const Place& place) const {
    constexpr std::string_view kExpected =
        "an address such as 0.0.0.0:9080, [::]:9080 or unix:/path";
    if (!place.node.is_string()) return place.Expected(kExpected);
    auto address = SocketAddress::Make(place.node.text);
    if (!address) return place.Expected(kExpected, address.error().detail);
    return *std::move(address);
  }
};

struct ProxyProtocol {
  std::optional<ProxyHeaders> operator()(const Place& place) const {
    const Node& node = place.node;
    if (node.kind == Node::Kind::kBool) {
      return node.boolean ? ProxyHeaders::kRequired : ProxyHeaders::kNo;
    }
    if (node.is_string() && node.text == "optional") return ProxyHeaders::kOptional;
    return place.Expected("true, false or optional");
  }
};

struct Listen {
  std::optional<ListenConfig> operator()(const Place& place) const {
    using T = ListenConfig;
    static const Fields<T> kFields = {
        Required(Bind("address", &T::address, ListenAddress{})),
        Bind("backlog", &T::backlog, Integer<int>{1, 65535}),
        Bind("tls", &T::tls, Boolean{}),
        Bind("http2", &T::http2, Boolean{}),
        Bind("proxy_protocol", &T::proxy_protocol, ProxyProtocol{}),
    };
    ListenConfig listen;
    listen.position = place.node.position;
    if (place.node.is_map()) {
      ReadFields(place, kFields, listen);
      return listen;
    }
    const auto address = ListenAddress{}(place);
    if (!address) return std::nullopt;
    listen.address = *address;
    return listen;
  }
};

struct ListenList {
  std::optional<std::vector<ListenConfig>> operator()(const Place& place) const {
    if (!place.node.is_list()) return OneOf<Listen>{}(place);
    auto list = ListOf<Listen>{.item = {}, .min = 1, .unique = false}(place);
    if (!list) return std::nullopt;
    std::unordered_map<std::string, Position> seen;
    for (const ListenConfig& listen : *list) {
      const std::string address = listen.address.ToString();
      const auto [before, added] = seen.emplace(address, listen.position);
      if (added || address.empty()) continue;
      place.FailAt(listen.position, "the address " + address + " is there twice",
                   "the first is at " + place.diagnostics.Locate(before->second));
    }
    return list;
  }
};

struct AccessLog {
  std::optional<AccessLogConfig> operator()(const Place& place) const {
    using T = AccessLogConfig;
    static const Fields<T> kFields = {
        Bind("path", &T::path, Text{}),
        Bind("format", &T::format, Text{}),
    };
    AccessLogConfig log;
    const Node& node = place.node;
    if (node.kind == Node::Kind::kBool && !node.boolean) {
      log.enabled = false;
    } else if (node.is_map()) {
      ReadFields(place, kFields, log);
    } else {
      return place.Expected("false or a map with path and format");
    }
    return log;
  }
};

struct ErrorLog {
  std::optional<ErrorLogConfig> operator()(const Place& place) const {
    using T = ErrorLogConfig;
    static const Fields<T> kFields = {
        Bind("path", &T::path, Text{}),
        Bind("level", &T::level,
             Choice<LogLevel>{{{"debug", LogLevel::kDebug},
                               {"info", LogLevel::kInfo},
                               {"warn", LogLevel::kWarn},
                               {"error", LogLevel::kError},
                               {"off", LogLevel::kOff}}}),
    };
    return Record<T>{kFields}(place);
  }
};

struct Metrics {
  std::optional<MetricsConfig> operator()(const Place& place) const {
    using T = MetricsConfig;
    static const Fields<T> kFields = {
        Bind("address", &T::address, ListenAddress{}),
        Bind("max_routes", &T::max_routes, Integer<uint32_t>{0, kMostMetricRoutes}),
        Bind("compat", &T::compat, Boolean{}),
    };
    MetricsConfig metrics;
    const Node& node = place.node;
    if (node.kind == Node::Kind::kBool && !node.boolean) {
      metrics.enabled = false;
    } else if (node.is_map()) {
      ReadFields(place, kFields, metrics);
    } else {
      return place.Expected("false or a map with address, max_routes and compat");
    }
    return metrics;
  }
};

// RFC 9110 7.6.3: a pseudonym is a token; our name may also be written as a host.
struct Pseudonym {
  std::optional<std::string> operator()(const Place& place) const {
    auto text = Text{1, 64}(place);
    if (!text) return std::nullopt;
    const bool valid = std::all_of(text->begin(), text->end(), [](char c) {
      const char lower = AsciiLower(c);
      return IsDigit(c) || (lower >= 'a' && lower <= 'z') || c == '-' || c == '_' || c == '.';
    });
    if (valid) return text;
    return place.Expected("a name of letters, digits, '-', '_' and '.'");
  }
};

// The path of a UNIX socket: the kernel's limit counts the end mark.
constexpr size_t kSocketPath = 107;

const Fields<TimeoutConfig>& TimeoutFields() {
  using T = TimeoutConfig;
  static const Fields<T> kFields = {
      Bind("header", &T::header, TimeSpan{}),
      Bind("body", &T::body, TimeSpan{}),
      Bind("send", &T::send, TimeSpan{}),
      Bind("keepalive", &T::keepalive, TimeSpan{}),
      Bind("shutdown", &T::shutdown, TimeSpan{.min = Duration(0)}),
  };
  return kFields;
}

const Fields<LimitConfig>& LimitFields() {
  constexpr uint64_t kSmallest = 256;
  constexpr uint64_t kLargest = 1024 * 1024;
  using T = LimitConfig;
  static const Fields<T> kFields = {
      Bind("worker_connections", &T::worker_connections, Integer<uint32_t>{1, 10'000'000}),
      Bind("request_line", &T::request_line, ByteSize<uint32_t>{kSmallest, kLargest}),
      Bind("header_size", &T::header_size, ByteSize<uint32_t>{kSmallest, kLargest}),
      Bind("header_count", &T::header_count, Integer<uint32_t>{1, 10'000}),
      Bind("http2_streams", &T::http2_streams, Integer<uint32_t>{1, 10'000}),
      Bind("min_body_rate", &T::min_body_rate, Integer<uint32_t>{0, 1'000'000'000}),
      Bind("limit_keys", &T::limit_keys, Integer<uint64_t>{1'000, 1'000'000'000}),
  };
  return kFields;
}

const Fields<GatewayConfig>& GatewayFields() {
  using T = GatewayConfig;
  static const Fields<T> kFields = {
      Bind("workers", &T::workers, Workers{}),
      Bind("user", &T::user, Text{1, 64}),
      Bind("listen", &T::listen, ListenList{}),
      Bind("control", &T::control, Text{1, kSocketPath}),
      Bind("state_dir", &T::state_dir, Text{}),
      Bind("pid", &T::pid, Text{}),
      Bind("access_log", &T::access_log, AccessLog{}),
      Bind("error_log", &T::error_log, ErrorLog{}),
      Bind("metrics", &T::metrics, Metrics{}),
      Bind("trusted_proxies", &T::trusted_proxies, ListOf<AddressRange>{}),
      Bind("via", &T::via, Pseudonym{}),
      Bind("client_max_body_size", &T::client_max_body_size, ByteSize<uint64_t>{}),
      Bind("tls", &T::tls, GatewayTls{}),
      Bind("timeouts", &T::timeouts, Record<TimeoutConfig>{TimeoutFields()}),
      Bind("limits", &T::limits, Record<LimitConfig>{LimitFields()}),
  };
  return kFields;
}

// Headers of the PROXY protocol are taken from trusted proxies only.
void CheckProxyProtocol(const Place& place, const GatewayConfig& gateway) {
  if (!gateway.trusted_proxies.empty()) return;
  for (const ListenConfig& listen : gateway.listen) {
    if (listen.proxy_protocol == ProxyHeaders::kNo) continue;
    place.FailAt(listen.position, "proxy_protocol needs \"trusted_proxies\", which is empty",
                 "name the proxies in gateway.trusted_proxies; others are not believed");
  }
}

}  // namespace

GatewayConfig DecodeGateway(const Place* place) {
  GatewayConfig gateway;
  if (place != nullptr && ReadFields(*place, GatewayFields(), gateway)) {
    CheckProxyProtocol(*place, gateway);
  }
  if (gateway.listen.empty()) {
    ListenConfig listen;
    if (auto address = SocketAddress::Make(kDefaultListen)) listen.address = *std::move(address);
    gateway.listen.push_back(listen);
  }
  if (gateway.metrics.enabled && gateway.metrics.address == SocketAddress()) {
    if (auto address = SocketAddress::Make(kDefaultMetrics)) gateway.metrics.address = *address;
  }
  return gateway;
}

}  // namespace sluice::conf
