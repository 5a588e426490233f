#include "gateway/control/status.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "balancer/ewma.h"
#include "balancer/outlier.h"
#include "gateway/base/json_writer.h"

namespace sluice {
namespace {

using State = NodeStatus::State;

constexpr size_t kShownNames = 20;

std::string_view NameOf(State state) {
  constexpr std::array<std::string_view, 6> kNames = {"up",      "weight 0", "unhealthy",
                                                      "ejected", "drain",    "down"};
  return kNames.at(static_cast<size_t>(state));
}

std::string_view NameOf(balancer::EjectionReason reason) {
  using balancer::EjectionReason;
  switch (reason) {
    case EjectionReason::kNone:
      return {};
    case EjectionReason::kConsecutiveErrors:
      return "consecutive_errors";
    case EjectionReason::kConsecutiveGatewayErrors:
      return "consecutive_gateway_errors";
    case EjectionReason::kFailurePercentage:
      return "failure_percentage";
  }
  return {};
}

State StateOf(const SharedRecord& record, MonoTime now) {
  const NodeOrder order = record.order;
  if (order == NodeOrder::kDown) return State::kDown;
  if (order == NodeOrder::kDrain) return State::kDrain;
  if (!IsHealthy(record)) return State::kUnhealthy;
  if (balancer::Outlier::IsEjected(record.outlier, now)) return State::kEjected;
  return record.weight == 0 ? State::kWeightZero : State::kUp;
}

std::string Decimal(double value, int places) {
  char text[64];
  const int size = std::snprintf(text, sizeof(text), "%.*f", places, value);
  return {text, static_cast<size_t>(std::clamp(size, 0, 63))};
}

std::string_view NameOf(balancer::BreakerPhase phase) {
  constexpr std::array<std::string_view, 5> kNames = {"closed", "open", "half_open", "forced_open",
                                                      "forced_closed"};
  return kNames.at(static_cast<size_t>(phase));
}

// Phase and time do not depend on how the breaker is configured.
balancer::BreakerView ReadBreaker(const SharedRecord& record, MonoTime now) {
  return balancer::Breaker(balancer::BreakerConfig()).Read(record.breaker, now);
}

// Until an open breaker lets probes through.
Duration OpenFor(const balancer::BreakerView& breaker, MonoTime now) {
  const bool open = breaker.phase == balancer::BreakerPhase::kOpen;
  return open ? std::max(Duration::zero(), breaker.time - now) : Duration::zero();
}

void AppendBreaker(JsonWriter& json, const balancer::BreakerView& breaker, MonoTime now) {
  json.Key("breaker").BeginObject().Member("phase", NameOf(breaker.phase));
  json.Member("open_for_ms", int64_t{OpenFor(breaker, now) / milliseconds(1)});
  json.Member("requests", uint64_t{breaker.requests});
  json.Member("failed", uint64_t{breaker.failed}).Member("slow", uint64_t{breaker.slow});
  json.EndObject();
}

// Said of a breaker that is not simply closed.
void AppendBreaker(std::string& text, const balancer::BreakerView& breaker, MonoTime now) {
  if (breaker.phase == balancer::BreakerPhase::kClosed) return;
  text.append("  breaker ").append(NameOf(breaker.phase));
  const std::chrono::duration<double> left = OpenFor(breaker, now);
  if (left.count() > 0) text.append(" for ").append(Decimal(left.count(), 1)).append(" s");
}

void AppendUpstream(JsonWriter& json, const UpstreamStatus& upstream, MonoTime now) {
  json.BeginObject().Member("in_flight", uint64_t{upstream.in_flight});
  json.Member("retries", uint64_t{upstream.retries});
  json.Member("pending", uint64_t{upstream.pending});
  json.Member("connections", uint64_t{upstream.connections});
  AppendBreaker(json, upstream.breaker, now);
  json.EndObject();
}

void AppendUpstream(std::string& text, const UpstreamStatus& upstream, MonoTime now) {
  text += "  in flight " + std::to_string(upstream.in_flight) + ", of these retries " +
          std::to_string(upstream.retries) + ", pending " + std::to_string(upstream.pending) +
          ", connections " + std::to_string(upstream.connections);
  AppendBreaker(text, upstream.breaker, now);
  text += '\n';
}

void AppendHealth(JsonWriter& json, const HealthWord& health) {
  json.Key("health").BeginObject().Member("state", HealthName(health.health));
  json.Member("cause", CheckResultName(health.cause));
  json.Member("status", uint64_t{health.status}).EndObject();
}

// Said of a node whose checks have failed.
void AppendHealth(std::string& text, const HealthWord& health) {
  if (health.is_healthy()) return;
  text.append("  ").append(CheckResultName(health.cause));
  if (health.status > 0) text.append(" ").append(std::to_string(health.status));
}

void AppendNode(JsonWriter& json, const NodeStatus& node, MonoTime now) {
  json.BeginObject().Member("node", node.name).Member("state", NameOf(node.state));
  json.Member("weight", uint64_t{node.weight}).Member("priority", int64_t{node.priority});
  json.Member("in_flight", uint64_t{node.in_flight}).Key("ewma_ms");
  node.ewma > 0 ? json.Number(node.ewma) : json.Null();
  json.Key("ejection");
  if (node.ejection.empty()) {
    json.Null();
  } else {
    json.BeginObject().Member("reason", node.ejection);
    json.Member("back_in_ms", int64_t{node.back_in / milliseconds(1)}).EndObject();
  }
  AppendBreaker(json, node.breaker, now);
  AppendHealth(json, node.health);
  json.EndObject();
}

// One line of a table, whose first two columns are words.
void AppendRow(std::string& text, const std::array<std::string, 6>& cells) {
  constexpr std::array<size_t, 6> kWidths = {28, 9, 6, 8, 9, 9};
  text += ' ';
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string gap(kWidths[i] - std::min(kWidths[i], cells[i].size()), ' ');
    text += ' ';
    text += i < 2 ? cells[i] + gap : gap + cells[i];
  }
}

void AppendNode(std::string& text, const NodeStatus& node, MonoTime now) {
  AppendRow(text,
            {std::string(node.name), std::string(NameOf(node.state)), std::to_string(node.weight),
             std::to_string(node.priority), std::to_string(node.in_flight),
             node.ewma > 0 ? Decimal(node.ewma, 2) : std::string("-")});
  AppendHealth(text, node.health);
  if (!node.ejection.empty()) {
    const std::chrono::duration<double> left = node.back_in;
    text.append("  ").append(node.ejection).append(", back in ");
    text.append(Decimal(left.count(), 1)).append(" s");
  }
  AppendBreaker(text, node.breaker, now);
  text += '\n';
}

// "a, b and 3 more".
std::string List(const std::vector<std::string_view>& names) {
  if (names.empty()) return "none";
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShownNames); ++i) {
    text.append(i == 0 ? "" : ", ").append(names[i]);
  }
  if (names.size() > kShownNames) {
    text += " and " + std::to_string(names.size() - kShownNames) + " more";
  }
  return text;
}

Error OrderError(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

}  // namespace

HostStatus::HostStatus(const conf::Config& config, EndpointTable& table)
    : config_(config), table_(table), now_(MonoNow()) {
  for (const uint32_t id : table.Held()) {
    const SharedRecord& record = table.record(id);
    if (record.upstream_key == 0) {
      upstreams_.emplace(record.key, id);
    } else {
      endpoints_[record.upstream_key].push_back(id);
    }
  }
  for (auto& [upstream, ids] : endpoints_) {
    std::sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) {
      const SharedRecord& first = table.record(a);
      const SharedRecord& second = table.record(b);
      if (first.priority != second.priority) return first.priority > second.priority;
      return first.name() < second.name();
    });
  }
}

const std::vector<uint32_t>& HostStatus::EndpointsOf(const conf::UpstreamConfig& upstream) const {
  static const std::vector<uint32_t> kNone;
  const auto found = endpoints_.find(EndpointTable::KeyOf(upstream.key));
  return found == endpoints_.end() ? kNone : found->second;
}

std::vector<NodeStatus> HostStatus::NodesOf(const conf::UpstreamConfig& upstream) const {
  std::vector<NodeStatus> nodes;
  for (const uint32_t id : EndpointsOf(upstream)) nodes.push_back(ReadNode(id));
  return nodes;
}

NodeStatus HostStatus::ReadNode(uint32_t id) const {
  const SharedRecord& record = table_.record(id);
  NodeStatus node{.name = record.name(),
                  .state = StateOf(record, now_),
                  .weight = record.weight,
                  .priority = record.priority,
                  .in_flight = table_.count(EndpointTable::Counter::kActive, id),
                  .ewma = balancer::Ewma().Cost(record.ewma, now_) / 1000,
                  .health = ReadHealth(record),
                  .ejection = {},
                  .back_in = {},
                  .breaker = ReadBreaker(record, now_)};
  if (balancer::Outlier::IsEjected(record.outlier, now_)) {
    const balancer::Ejection ejection = balancer::Outlier::Read(record.outlier);
    node.ejection = NameOf(ejection.reason);
    node.back_in = ejection.until - now_;
  }
  return node;
}

std::optional<UpstreamStatus> HostStatus::ReadUpstream(const conf::UpstreamConfig& upstream) const {
  using Counter = EndpointTable::Counter;
  const auto found = upstreams_.find(EndpointTable::KeyOf(upstream.key));
  if (found == upstreams_.end()) return std::nullopt;
  const uint32_t id = found->second;
  return UpstreamStatus{.in_flight = table_.count(Counter::kActive, id),
                        .retries = table_.count(Counter::kRetries, id),
                        .pending = table_.count(Counter::kPending, id),
                        .connections = table_.count(Counter::kConnections, id),
                        .breaker = ReadBreaker(table_.record(id), now_)};
}

std::string HostStatus::ToJson(uint64_t revision, const std::vector<PluginStatus>& plugins) const {
  std::string line;
  std::string text = "revision " + std::to_string(revision) + "\n";
  JsonWriter json(line);
  json.BeginObject().Member("ok", true).Member("revision", revision);
  json.Key("upstreams").BeginArray();
  for (const conf::UpstreamConfig& upstream : config_.upstreams) {
    const std::string_view type = conf::NameOf(upstream.balancer);
    const std::string name = upstream.name.empty() ? "" : " \"" + upstream.name + "\"";
    text.append("\n").append(upstream.key).append(name).append("  ").append(type).append("\n");
    const std::optional<UpstreamStatus> whole = ReadUpstream(upstream);
    if (whole) AppendUpstream(text, *whole, now_);
    AppendRow(text, {"node", "state", "weight", "priority", "in flight", "ewma ms"});
    text += '\n';
    json.BeginObject().Member("key", upstream.key).Member("id", upstream.id);
    json.Member("name", upstream.name).Member("type", type).Key("total");
    whole ? AppendUpstream(json, *whole, now_) : void(json.Null());
    json.Key("nodes").BeginArray();
    for (const NodeStatus& node : NodesOf(upstream)) {
      AppendNode(json, node, now_);
      AppendNode(text, node, now_);
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Key("plugins");
  AppendPlugins(json, plugins);
  AppendPlugins(text, plugins);
  json.Member("text", text).EndObject();
  return line;
}

Result<const conf::UpstreamConfig*> HostStatus::FindUpstream(std::string_view name) const {
  std::vector<const conf::UpstreamConfig*> found;
  std::vector<std::string_view> keys;
  for (const conf::UpstreamConfig& upstream : config_.upstreams) {
    keys.push_back(upstream.key);
    if (upstream.key == name) return &upstream;
    if (upstream.id == name || upstream.name == name) found.push_back(&upstream);
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return OrderError("there is no upstream \"" + std::string(name) + "\"; there are " +
                      List(keys));
  }
  keys.clear();
  for (const conf::UpstreamConfig* upstream : found) keys.push_back(upstream->key);
  return OrderError("\"" + std::string(name) + "\" can be any of " + List(keys));
}

Result<std::string> HostStatus::OrderNode(std::string_view order, std::string_view upstream,
                                          std::string_view node) const {
  constexpr std::array<std::pair<std::string_view, NodeOrder>, 3> kOrders = {
      {{"drain", NodeOrder::kDrain}, {"up", NodeOrder::kNone}, {"down", NodeOrder::kDown}}};
  const auto* wanted = std::find_if(kOrders.begin(), kOrders.end(),
                                    [&](const auto& known) { return known.first == order; });
  if (wanted == kOrders.end()) {
    return OrderError("expected the order drain, up or down, got \"" + std::string(order) + "\"");
  }
  if (upstream.empty() || node.empty()) {
    return OrderError("expected \"upstream\" and \"node\", one of which is missing");
  }
  SLUICE_ASSIGN_OR_RETURN(const conf::UpstreamConfig* const config, FindUpstream(upstream));
  std::vector<std::string_view> names;
  for (const uint32_t id : EndpointsOf(*config)) {
    names.push_back(table_.record(id).name());
    if (names.back() != node) continue;
    table_.record(id).order = wanted->second;
    std::string line;
    JsonWriter json(line);
    json.BeginObject().Member("ok", true).Member("upstream", config->key).Member("node", node);
    json.Member("state", NameOf(StateOf(table_.record(id), now_)));
    json.Member("text", config->key + " " + std::string(node) + ": " + std::string(order) + "\n");
    json.EndObject();
    return line;
  }
  return OrderError(config->key + " has no node \"" + std::string(node) + "\"; it has " +
                    List(names));
}

}  // namespace sluice
