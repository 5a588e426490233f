#include "gateway/control/metrics_page.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/control/metrics_compat.h"
#include "gateway/control/plugin_status.h"
#include "gateway/control/status.h"
#include "gateway/control/traffic_series.h"
#include "gateway/observe/metrics_text.h"
#include "gateway/observe/series_labels.h"
#include "gateway/plugin/shared_limits.h"

namespace sluice {
namespace {

using Type = MetricsText::Type;

// Nodes that are listed one by one; with more, only their numbers by state are told.
constexpr size_t kListedNodes = 2000;

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

// A number that all columns have, added up.
template <typename Read>
uint64_t Sum(const MetricSlabs& slabs, Read read) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < slabs.columns(); ++i) sum += read(slabs.column(i));
  return sum;
}

uint64_t Sum(const MetricSlabs& slabs, Tally ProcessCounters::*member) {
  return Sum(slabs, [member](const ProcessCounters& column) { return (column.*member).value(); });
}

uint64_t Present(const MetricSlabs& slabs, Tally ProcessCounters::Present::*member) {
  return Sum(slabs,
             [member](const ProcessCounters& column) { return (column.present.*member).value(); });
}

void AddOne(MetricsText& text, std::string_view name, std::string_view help, Type type,
            uint64_t value) {
  text.Begin(name, help, type);
  text.Add({}, value);
}

// --- processes and configuration -----------------------------------------------------------------

void AddGateway(MetricsText& text, const MetricsSources& sources) {
  const MetricSlabs& slabs = *sources.slabs;
  text.Begin("sluice_info", "The gateway that runs.", Type::kGauge);
  text.Add({{"version", SLUICE_VERSION}}, uint64_t{1});
  AddOne(text, "sluice_workers", "Worker processes that there should be.", Type::kGauge,
         slabs.roles() - 1);
  text.Begin("sluice_process_restarts_total", "Processes that died and were started again.",
             Type::kCounter);
  text.Add({{"role", "worker"}}, Sum(slabs, &ProcessCounters::worker_deaths));
  text.Add({{"role", "controller"}}, Sum(slabs, &ProcessCounters::controller_deaths));
  AddOne(text, "sluice_config_revision", "Revision of the configuration that serves.", Type::kGauge,
         sources.revision);
  text.Begin("sluice_config_reloads_total", "Reloads that changed something, by their result.",
             Type::kCounter);
  text.Add({{"result", "committed"}}, Sum(slabs, &ProcessCounters::reloads));
  text.Add({{"result", "refused"}}, Sum(slabs, &ProcessCounters::reloads_refused));
  AddOne(text, "sluice_config_last_reload_timestamp_seconds",
         "When the revision came that serves; 0: with the start.", Type::kGauge,
         Sum(slabs, &ProcessCounters::last_reload));
  text.Begin("sluice_log_lines_total", "Lines for the error log.", Type::kCounter);
  text.Add({{"level", "warn"}},
           Sum(slabs, [](const ProcessCounters& column) { return column.warnings.load(); }));
  text.Add({{"level", "error"}},
           Sum(slabs, [](const ProcessCounters& column) { return column.errors.load(); }));
  AddOne(text, "sluice_access_log_dropped_lines_total",
         "Lines of the access log that were dropped, because its file was too slow or full.",
         Type::kCounter, Sum(slabs, &ProcessCounters::log_lines_dropped));
}

// --- clients -------------------------------------------------------------------------------------

void AddConnections(MetricsText& text, const MetricsSources& sources) {
  const MetricSlabs& slabs = *sources.slabs;
  AddOne(text, "sluice_connections", "Connections of clients that are open.", Type::kGauge,
         Present(slabs, &ProcessCounters::Present::connections));
  AddOne(text, "sluice_connections_limit", "Connections that all workers take at one time.",
         Type::kGauge,
         uint64_t{sources.config->gateway.limits.worker_connections} * (slabs.roles() - 1));
  AddOne(text, "sluice_connections_accepted_total", "Connections that clients have opened.",
         Type::kCounter, Sum(slabs, &ProcessCounters::connections));
  text.Begin("sluice_connections_rejected_total",
             "Connections that were closed: for their PROXY header, while idle to make room for "
             "others (limits.worker_connections), for a flood of HTTP/2 frames.",
             Type::kCounter);
  text.Add({{"reason", "proxy_protocol"}}, Sum(slabs, &ProcessCounters::connections_refused));
  text.Add({{"reason", "displaced"}}, Sum(slabs, &ProcessCounters::connections_displaced));
  text.Add({{"reason", "http2_flood"}}, Sum(slabs, &ProcessCounters::http2_floods));
  AddOne(text, "sluice_accept_pauses_total",
         "Times that a worker stopped accepting, at limits.worker_connections.", Type::kCounter,
         Sum(slabs, &ProcessCounters::accept_pauses));
  text.Begin("sluice_tls_handshakes_total", "TLS handshakes of clients.", Type::kCounter);
  text.Add({{"result", "full"}}, Sum(slabs, &ProcessCounters::handshakes_full));
  text.Add({{"result", "resumed"}}, Sum(slabs, &ProcessCounters::handshakes_resumed));
  text.Add({{"result", "failed"}}, Sum(slabs, &ProcessCounters::handshakes_failed));
}

// --- requests ------------------------------------------------------------------------------------

void AddLatency(MetricsText& text, const std::vector<TrafficSeries>& all, std::string_view name,
                std::string_view help, LatencyHistogram<uint64_t> Traffic<uint64_t>::*member) {
  text.Begin(name, help, Type::kHistogram);
  for (const TrafficSeries& one : all) {
    text.Add({{"route", one.route}, {"service", one.service}}, one.traffic.*member, seconds(1));
  }
}

void AddRequests(MetricsText& text, const MetricSlabs& slabs,
                 const std::vector<TrafficSeries>& all) {
  text.Begin("sluice_http_requests_total",
             "Requests that ended, by the status that the client got (499: it went before). Routes "
             "without the plugin prometheus are together, with an empty label.",
             Type::kCounter);
  for (const TrafficSeries& one : all) {
    for (size_t slot = 0; slot < kStatusSlots; ++slot) {
      const uint64_t count = one.traffic.statuses[slot];
      if (count == 0) continue;
      text.Add({{"route", one.route}, {"service", one.service}, {"code", StatusSlotName(slot)}},
               count);
    }
  }
  text.Begin("sluice_http_bytes_total", "Bytes of heads and bodies, from clients and to them.",
             Type::kCounter);
  for (const TrafficSeries& one : all) {
    text.Add({{"route", one.route}, {"service", one.service}, {"direction", "received"}},
             one.traffic.bytes_received);
    text.Add({{"route", one.route}, {"service", one.service}, {"direction", "sent"}},
             one.traffic.bytes_sent);
  }
  AddLatency(text, all, "sluice_http_request_duration_seconds",
             "From the complete head of a request to the end of its response; without WebSockets.",
             &Traffic<uint64_t>::request);
  AddLatency(text, all, "sluice_http_upstream_duration_seconds",
             "The part of it from the choice of a node on.", &Traffic<uint64_t>::upstream);
  AddLatency(text, all, "sluice_http_overhead_duration_seconds",
             "The rest, which is the gateway's own: routing, plugins before the upstream.",
             &Traffic<uint64_t>::overhead);
  text.Begin("sluice_http_requests_ended_total",
             "Requests by how they ended, as `reason` in the access log says.", Type::kCounter);
  for (size_t i = 0; i < static_cast<size_t>(ErrorCode::kCount); ++i) {
    const uint64_t count =
        Sum(slabs, [i](const ProcessCounters& column) { return column.ends[i].value(); });
    if (count == 0 && i > 0) continue;
    text.Add({{"reason", ReasonName(static_cast<ErrorCode>(i))}}, count);
  }
  AddOne(text, "sluice_http_requests_in_flight", "Requests and tunnels that are being served.",
         Type::kGauge, Present(slabs, &ProcessCounters::Present::exchanges));
  AddOne(text, "sluice_tunnels", "WebSockets that are open.", Type::kGauge,
         Present(slabs, &ProcessCounters::Present::tunnels));
  AddOne(text, "sluice_own_requests_total", "Requests that plugins sent by themselves.",
         Type::kCounter, Sum(slabs, &ProcessCounters::own_requests));
  AddOne(text, "sluice_upstream_attempts_total",
         "Attempts at nodes; more than requests when there are retries.", Type::kCounter,
         Sum(slabs, &ProcessCounters::upstream_attempts));
}

// --- upstreams -----------------------------------------------------------------------------------

constexpr std::array<std::pair<NodeStatus::State, std::string_view>, 6> kNodeStates = {
    {{NodeStatus::State::kUp, "up"},
     {NodeStatus::State::kWeightZero, "weight_zero"},
     {NodeStatus::State::kUnhealthy, "unhealthy"},
     {NodeStatus::State::kEjected, "ejected"},
     {NodeStatus::State::kDrain, "drain"},
     {NodeStatus::State::kDown, "down"}}};

struct UpstreamSeries {
  const conf::UpstreamConfig* config = nullptr;
  std::vector<NodeStatus> nodes;
  std::optional<UpstreamStatus> whole;
};

void AddNodes(MetricsText& text, const std::vector<UpstreamSeries>& upstreams) {
  text.Begin("sluice_upstream_nodes", "Nodes of upstreams by their state.", Type::kGauge);
  size_t total = 0;
  for (const UpstreamSeries& upstream : upstreams) {
    total += upstream.nodes.size();
    for (const auto& [state, name] : kNodeStates) {
      const auto is_in = [wanted = state](const NodeStatus& node) { return node.state == wanted; };
      const auto count = std::count_if(upstream.nodes.begin(), upstream.nodes.end(), is_in);
      text.Add({{"upstream", upstream.config->key}, {"state", name}}, static_cast<double>(count));
    }
  }
  text.Begin("sluice_upstream_node_up",
             "1: the node gets requests. Only while there are not more than 2000 nodes in all.",
             Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    if (total > kListedNodes) break;
    for (const NodeStatus& node : upstream.nodes) {
      const bool up = node.state == NodeStatus::State::kUp;
      text.Add({{"upstream", upstream.config->key}, {"node", node.name}}, uint64_t{up});
    }
  }
  text.Begin("sluice_upstream_requests_in_flight", "Requests at the nodes of an upstream.",
             Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    uint64_t in_flight = 0;
    for (const NodeStatus& node : upstream.nodes) in_flight += node.in_flight;
    text.Add({{"upstream", upstream.config->key}}, in_flight);
  }
}

void AddLimits(MetricsText& text, const std::vector<UpstreamSeries>& upstreams) {
  text.Begin("sluice_upstream_limit", "The limits of an upstream, where it has some.",
             Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    const conf::UpstreamLimits& limits = upstream.config->limits;
    for (const auto& [kind, limit] :
         {std::pair<std::string_view, uint32_t>{"connections", limits.connections},
          {"requests", limits.requests},
          {"pending", limits.pending},
          {"retries", limits.retries}}) {
      if (limit > 0)
        text.Add({{"upstream", upstream.config->key}, {"kind", kind}}, uint64_t{limit});
    }
  }
  text.Begin("sluice_upstream_limit_used", "How much of them is in use.", Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    if (!upstream.whole) continue;
    const UpstreamStatus& whole = *upstream.whole;
    for (const auto& [kind, used] :
         {std::pair<std::string_view, uint32_t>{"connections", whole.connections},
          {"requests", whole.in_flight},
          {"pending", whole.pending},
          {"retries", whole.retries}}) {
      text.Add({{"upstream", upstream.config->key}, {"kind", kind}}, uint64_t{used});
    }
  }
}

void AddBreakers(MetricsText& text, const std::vector<UpstreamSeries>& upstreams) {
  constexpr std::array<std::string_view, 5> kPhases = {"closed", "open", "half_open", "forced_open",
                                                       "forced_closed"};
  text.Begin("sluice_upstream_breaker_state",
             "1 for the state in which the circuit breaker of an upstream is.", Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    if (!upstream.whole || !upstream.config->circuit_breaker) continue;
    for (size_t i = 0; i < kPhases.size(); ++i) {
      const bool is_in = static_cast<size_t>(upstream.whole->breaker.phase) == i;
      text.Add({{"upstream", upstream.config->key}, {"state", kPhases[i]}}, uint64_t{is_in});
    }
  }
  text.Begin("sluice_upstream_open_node_breakers", "Nodes whose own circuit breaker is not closed.",
             Type::kGauge);
  for (const UpstreamSeries& upstream : upstreams) {
    if (!upstream.config->circuit_breaker) continue;
    const auto open =
        std::count_if(upstream.nodes.begin(), upstream.nodes.end(), [](const NodeStatus& node) {
          return node.breaker.phase == balancer::BreakerPhase::kOpen ||
                 node.breaker.phase == balancer::BreakerPhase::kHalfOpen ||
                 node.breaker.phase == balancer::BreakerPhase::kForcedOpen;
        });
    text.Add({{"upstream", upstream.config->key}}, static_cast<double>(open));
  }
}

std::vector<UpstreamSeries> ReadUpstreams(const MetricsSources& sources, const HostStatus& host) {
  std::vector<UpstreamSeries> upstreams;
  for (const conf::UpstreamConfig& upstream : sources.config->upstreams) {
    upstreams.push_back({&upstream, host.NodesOf(upstream), host.ReadUpstream(upstream)});
  }
  return upstreams;
}

// --- plugins -------------------------------------------------------------------------------------

// Routes that have no series of their own are told together, as their requests are.
std::vector<PluginStatus> PluginsToShow(const MetricSlabs& slabs,
                                        const std::vector<TrafficSeries>& traffic) {
  std::map<std::string_view, std::string_view> shown;  // their labels by id
  for (const TrafficSeries& one : traffic) shown.emplace(one.id, one.route);
  std::map<std::pair<std::string, std::string>, PluginStatus> merged;
  for (PluginStatus& one : ReadPlugins(slabs)) {
    const auto label = shown.find(one.route);
    one.route = label == shown.end() ? std::string_view() : label->second;
    const auto [found, added] = merged.try_emplace({one.route, one.plugin}, one);
    if (!added) found->second.Add(one);
  }
  std::vector<PluginStatus> plugins;
  for (auto& [key, one] : merged) plugins.push_back(std::move(one));
  return plugins;
}

void AddPlugins(MetricsText& text, const std::vector<PluginStatus>& plugins) {
  const auto add = [&](std::string_view name, std::string_view help, auto value) {
    text.Begin(name, help, Type::kCounter);
    for (const PluginStatus& one : plugins) {
      text.Add({{"route", one.route}, {"plugin", one.plugin}}, value(one));
    }
  };
  add("sluice_plugin_calls_total", "Calls of a plugin's hooks.",
      [](const PluginStatus& one) { return one.calls; });
  add("sluice_plugin_running_seconds_total", "Time inside a plugin's hooks.",
      [](const PluginStatus& one) { return Seconds(one.running); });
  add("sluice_plugin_suspended_seconds_total", "Time for which a plugin held requests back.",
      [](const PluginStatus& one) { return Seconds(one.suspended); });
  text.Begin("sluice_plugin_verdicts_total",
             "What plugins decided other than to go on; shadowed: what was not followed, because "
             "the plugin is in shadow mode or fails open.",
             Type::kCounter);
  for (const PluginStatus& one : plugins) {
    for (const auto& [verdict, count] :
         {std::pair<std::string_view, uint64_t>{"reply", one.replies},
          {"suspend", one.suspensions},
          {"fail", one.failures},
          {"shadowed", one.shadowed}}) {
      text.Add({{"route", one.route}, {"plugin", one.plugin}, {"verdict", verdict}}, count);
    }
  }
}

void AddLimitTable(MetricsText& text, const MetricsSources& sources) {
  const auto use = SharedLimits::ReadUse(*sources.limits, sources.limit_keys,
                                         ratelimit::TimePoint(MonoNow().time_since_epoch()));
  if (!use) return;
  AddOne(text, "sluice_limit_table_keys", "Keys of limits that are in use.", Type::kGauge,
         use->keys);
  AddOne(text, "sluice_limit_table_keys_limit", "Keys that there is room for (limits.limit_keys).",
         Type::kGauge, sources.limit_keys);
  AddOne(text, "sluice_limit_table_evicted_total",
         "Keys in use that had to go for others, and begin anew.", Type::kCounter, use->evicted);
  AddOne(text, "sluice_limit_table_refused_total", "Decisions for which there was no room.",
         Type::kCounter, use->refused);
}

}  // namespace

std::string MakeMetricsPage(const MetricsSources& sources) {
  MetricsText text;
  AddGateway(text, sources);
  AddConnections(text, sources);
  const std::vector<TrafficSeries> traffic = ReadTraffic(*sources.slabs);
  AddRequests(text, *sources.slabs, MergeByRoute(traffic));
  const HostStatus host(*sources.config, *sources.endpoints);
  const std::vector<UpstreamSeries> upstreams = ReadUpstreams(sources, host);
  AddNodes(text, upstreams);
  AddLimits(text, upstreams);
  AddBreakers(text, upstreams);
  AddLimitTable(text, sources);
  AddPlugins(text, PluginsToShow(*sources.slabs, traffic));
  if (sources.config->gateway.metrics.compat) AddCompat(text, sources, host, traffic);
  return text.Take();
}

}  // namespace sluice
