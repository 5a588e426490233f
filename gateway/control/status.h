// What the host knows of its upstreams and their nodes, put together for the operator from the
// configuration that serves and the table that all workers share; and the operator's orders for a
// node. In the controller, made for one command.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "balancer/breaker.h"
#include "conf/resources.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/control/plugin_status.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/health.h"

namespace sluice {

// One node as the operator is told of it.
struct NodeStatus {
  enum class State : uint8_t { kUp, kWeightZero, kUnhealthy, kEjected, kDrain, kDown };

  std::string_view name;  // "127.0.0.1:1980"
  State state = State::kUp;
  uint32_t weight = 0;
  int32_t priority = 0;
  uint32_t in_flight = 0;
  float ewma = 0;             // milliseconds; 0: no answer was ever timed
  HealthWord health;          // as checks found it
  std::string_view ejection;  // why; empty: it is not ejected now
  Duration back_in{};         // ejected: until it returns
  balancer::BreakerView breaker;
};

// An upstream as a whole, from the record that its workers hold where it has limits or a breaker.
struct UpstreamStatus {
  uint32_t in_flight = 0;
  uint32_t retries = 0;
  uint32_t pending = 0;
  uint32_t connections = 0;
  balancer::BreakerView breaker;
};

class HostStatus {
 public:
  HostStatus(const conf::Config& config, EndpointTable& table);

  // The answers on the control socket, one line: everything as members, and as "text" for people.
  std::string ToJson(uint64_t revision, const std::vector<PluginStatus>& plugins) const;
  // The nodes of an upstream, in order of priority and name.
  std::vector<NodeStatus> NodesOf(const conf::UpstreamConfig& upstream) const;
  std::optional<UpstreamStatus> ReadUpstream(const conf::UpstreamConfig& upstream) const;

  // `order` is drain, up or down. The error lists what there is.
  Result<std::string> OrderNode(std::string_view order, std::string_view upstream,
                                std::string_view node) const;

 private:
  Result<const conf::UpstreamConfig*> FindUpstream(std::string_view name) const;
  // The records of the endpoints of an upstream, in order of priority and name.
  const std::vector<uint32_t>& EndpointsOf(const conf::UpstreamConfig& upstream) const;
  NodeStatus ReadNode(uint32_t id) const;

  const conf::Config& config_;
  EndpointTable& table_;
  MonoTime now_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> endpoints_;  // by key of the upstream
  std::unordered_map<uint64_t, uint32_t> upstreams_;               // the same
};

}  // namespace sluice
