#include "gateway/control/metrics_compat.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "gateway/base/address.h"

namespace sluice {
namespace {

using Type = MetricsText::Type;

constexpr Duration kMillisecond = milliseconds(1);

// The series of a family, with those labels emptied that the plugin's metadata turns off.
std::vector<TrafficSeries> SeriesOf(CompatFamily family, const std::vector<TrafficSeries>& all) {
  std::vector<TrafficSeries> series = all;
  for (TrafficSeries& one : series) {
    const bool has_matched = family == CompatFamily::kStatus;
    const auto drop = [&](CompatLabel label, std::string& value) {
      if (one.disabled.Contains(family, label)) value.clear();
    };
    drop(CompatLabel::kRoute, one.route);
    drop(CompatLabel::kService, one.service);
    if (!has_matched) {
      one.matched_uri.clear();
      one.matched_host.clear();
    }
    drop(CompatLabel::kMatchedUri, one.matched_uri);
    drop(CompatLabel::kMatchedHost, one.matched_host);
  }
  return Merge(series, [](const TrafficSeries& one) {
    return TrafficLabels{.route = one.route,
                         .service = one.service,
                         .matched_uri = one.matched_uri,
                         .matched_host = one.matched_host}
        .Pack();
  });
}

void AddStatus(MetricsText& text, const std::vector<TrafficSeries>& traffic) {
  text.Begin("apisix_http_status", "Requests by status, as APISIX counts them.", Type::kCounter);
  for (const TrafficSeries& one : SeriesOf(CompatFamily::kStatus, traffic)) {
    for (size_t slot = 0; slot < kStatusSlots; ++slot) {
      const uint64_t count = one.traffic.statuses[slot];
      if (count == 0) continue;
      text.Add({{"code", StatusSlotName(slot)},
                {"route", one.route},
                {"matched_uri", one.matched_uri},
                {"matched_host", one.matched_host},
                {"service", one.service},
                {"consumer", ""},
                {"node", ""}},
               count);
    }
  }
}

void AddLatency(MetricsText& text, const std::vector<TrafficSeries>& traffic) {
  text.Begin("apisix_http_latency", "Latency in milliseconds, in APISIX's parts.",
             Type::kHistogram);
  for (const TrafficSeries& one : SeriesOf(CompatFamily::kLatency, traffic)) {
    const auto add = [&](std::string_view type, const LatencyHistogram<uint64_t>& latency) {
      text.Add({{"type", type},
                {"route", one.route},
                {"service", one.service},
                {"consumer", ""},
                {"node", ""}},
               latency, kMillisecond, kMillisecond);
    };
    add("request", one.traffic.request);
    add("upstream", one.traffic.upstream);
    add("apisix", one.traffic.overhead);
  }
}

void AddBandwidth(MetricsText& text, const std::vector<TrafficSeries>& traffic) {
  text.Begin("apisix_bandwidth", "Bytes from clients (ingress) and to them (egress).",
             Type::kCounter);
  for (const TrafficSeries& one : SeriesOf(CompatFamily::kBandwidth, traffic)) {
    const auto add = [&](std::string_view type, uint64_t bytes) {
      text.Add({{"type", type},
                {"route", one.route},
                {"service", one.service},
                {"consumer", ""},
                {"node", ""}},
               bytes);
    };
    add("ingress", one.traffic.bytes_received);
    add("egress", one.traffic.bytes_sent);
  }
}

void AddConnections(MetricsText& text, const MetricSlabs& slabs) {
  uint64_t accepted = 0;
  uint64_t active = 0;
  uint64_t exchanges = 0;
  for (uint32_t i = 0; i < slabs.columns(); ++i) {
    const ProcessCounters& column = slabs.column(i);
    accepted += column.connections.value();
    active += column.present.connections.value();
    exchanges += column.present.exchanges.value();
  }
  const uint64_t writing = std::min(active, exchanges);
  text.Begin("apisix_nginx_http_current_connections",
             "Connections of clients; writing: those with a request, waiting: the others.",
             Type::kGauge);
  for (const auto& [state, count] : {std::pair<std::string_view, uint64_t>{"accepted", accepted},
                                     {"active", active},
                                     {"handled", accepted},
                                     {"reading", 0},
                                     {"waiting", active - writing},
                                     {"writing", writing}}) {
    text.Add({{"state", state}}, count);
  }
}

// "route/r1" -> "/apisix/routes/r1".
std::string CompatName(std::string_view key) {
  const size_t slash = key.find('/');
  if (slash == std::string_view::npos) return std::string(key);
  return "/apisix/" + std::string(key.substr(0, slash)) + "s" + std::string(key.substr(slash));
}

void AddNodes(MetricsText& text, const MetricsSources& sources, const HostStatus& host) {
  text.Begin("apisix_upstream_status", "1: checks find the node healthy.", Type::kGauge);
  for (const conf::UpstreamConfig& upstream : sources.config->upstreams) {
    if (!upstream.checks) continue;
    const std::string name = CompatName(upstream.key);
    for (const NodeStatus& node : host.NodesOf(upstream)) {
      const auto address = SocketAddress::Make(node.name);
      const bool is_ip = address.has_value() && !address->is_unix();
      const std::string ip = is_ip ? address->ip().ToString() : std::string(node.name);
      const std::string port = is_ip ? std::to_string(address->port()) : "";
      text.Add({{"name", name}, {"ip", ip}, {"port", port}}, uint64_t{node.health.is_healthy()});
    }
  }
}

}  // namespace

void AddCompat(MetricsText& text, const MetricsSources& sources, const HostStatus& host,
               const std::vector<TrafficSeries>& traffic) {
  AddStatus(text, traffic);
  AddLatency(text, traffic);
  AddBandwidth(text, traffic);
  AddConnections(text, *sources.slabs);
  uint64_t requests = 0;
  for (const TrafficSeries& one : traffic) {
    const auto& statuses = one.traffic.statuses;
    requests += std::accumulate(statuses.begin(), statuses.end(), uint64_t{0});
  }
  text.Begin("apisix_http_requests_total", "Requests since the start.", Type::kGauge);
  text.Add({}, requests);
  std::array<char, 256> hostname{};
  gethostname(hostname.data(), hostname.size() - 1);
  text.Begin("apisix_node_info", "The host of this gateway.", Type::kGauge);
  text.Add({{"hostname", hostname.data()}, {"version", SLUICE_VERSION}}, uint64_t{1});
  AddNodes(text, sources, host);
}

}  // namespace sluice
