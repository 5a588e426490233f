// The run-time side of an upstream in one worker: its endpoints (nodes resolved to addresses),
// who of them is next, and their idle connections. Kept under the upstream's stable key, so that a
// reload that does not touch a node loses nothing. Referenced by snapshots and by calls under way.
//
//   nodes are addresses   the plan of the endpoints comes with the snapshot and holds at once
//   a node is a name      a plan is made on a pool thread whenever names or nodes have changed, one
//                         at a time; until it is there the last one holds, without what was removed
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/address.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/net/loop.h"
#include "gateway/net/tls_context.h"
#include "gateway/net/watchers.h"
#include "gateway/proxy/admission.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/picker.h"
#include "gateway/proxy/plan_pace.h"
#include "gateway/proxy/resolved_nodes.h"
#include "gateway/proxy/upstream_plan.h"

namespace sluice {

class Resolver;
class Http2Upstream;
class UpstreamConnection;
struct EndpointTag;
struct IdleTag;

// One address of an upstream. Connections and calls share it; it may outlive its upstream.
struct Endpoint {
  Endpoint(std::shared_ptr<EndpointTable> table, std::string_view upstream,
           const SocketAddress& where);
  ~Endpoint();

  SocketAddress address;
  std::string name;       // "127.0.0.1:1980", for logs
  std::string node_host;  // host and port of the node as configured: Host for pass_host "node"
  bool checked = false;   // its upstream has checks, so that its health counts
  bool retired = false;   // no longer configured or resolved: its connections are not kept
  IntrusiveList<UpstreamConnection, IdleTag> idle;  // most recently used last
  IntrusiveList<Http2Upstream, EndpointTag> http2;  // that take further calls
  TlsResumption sessions;
  HeldRecord shared;                           // what all workers know of it
  const balancer::Breaker* breaker = nullptr;  // its upstream's, when that is for endpoints too
};

class UpstreamState {
 public:
  // Told when the endpoints change, while a call waits for a name to be resolved.
  class Waiter : public ListNode<Waiter> {
   public:
    virtual void OnEndpointsChanged() = 0;

   protected:
    ~Waiter() = default;
  };

  // `resolver` may be null when no node is a name (tests).
  UpstreamState(Loop& loop, Resolver* resolver, std::shared_ptr<EndpointTable> table,
                std::string key, uint64_t seed);
  ~UpstreamState();
  UpstreamState(const UpstreamState&) = delete;
  UpstreamState& operator=(const UpstreamState&) = delete;

  // Before an Update that may bring the first node that is a name.
  void SetResolver(Resolver* resolver) { resolver_ = resolver; }
  // Takes a configuration over: nodes that stay keep their place and connections. `plan` is of its
  // nodes; null: a node is a name.
  void Update(const conf::UpstreamConfig& config, std::shared_ptr<const UpstreamPlan> plan);
  // No longer configured: closes what is idle and keeps no further connection.
  void Retire();

  // The endpoint for an attempt, as gateway/proxy/picker.h says; null when none may be tried.
  std::shared_ptr<Endpoint> Pick(const PickRequest& request);

  // Should this attempt's latency be told to ObserveLatency? Always where nodes are chosen by it,
  // elsewhere now and then: for those who look at it.
  bool WantsLatency();
  static void ObserveLatency(Endpoint& endpoint, Duration latency, MonoTime now);
  // An attempt failed after `latency` without a response. Where nodes are chosen by latency that
  // counts as slow however fast it was: else a dead node would look like the fastest.
  void ObserveFailure(Endpoint& endpoint, Duration latency, MonoTime now) const;
  // Requests are placed by a key: its bytes may be kept here until the pick.
  bool hashes() const { return picker_.hashes(); }
  std::string& key_scratch() { return key_scratch_; }

  // Breaker, limits and queue.
  Admission& admission() { return admission_; }
  // Requests under way at its endpoints, of the whole host.
  uint64_t CountActive() const;
  // How long until the first endpoint's breaker may let calls through; null: none is open.
  std::optional<Duration> CircuitDelay(MonoTime now) const;
  // Closes one idle connection of this worker; false: there is none.
  bool CloseIdle();

  size_t endpoint_count() const { return endpoints_.size(); }
  std::span<const std::shared_ptr<Endpoint>> endpoints() const { return endpoints_; }
  // Endpoints are on their way, as a name was never resolved yet: waiting makes sense.
  bool is_resolving() const { return is_planning() || nodes_.is_resolving(); }
  void AddWaiter(Waiter& waiter) { waiters_.PushBack(waiter); }

  // Idle connections of all endpoints, against keepalive_pool.size.
  uint32_t idle_connections = 0;

 private:
  // One plan in the making.
  struct Planning {
    std::vector<PlannedEndpoint> endpoints;
    std::shared_ptr<const UpstreamPlan> plan;  // the last one, then the new one
  };

  bool is_planning() const { return planning_ != nullptr || planning_waits_; }
  void RetireRemoved();
  void PlanSoon();
  void Plan();
  void OnPlanned(Planning& planned);
  void Adopt(std::shared_ptr<const UpstreamPlan> plan);
  void TakeEndpoints(const UpstreamPlan& plan);
  void WakeWaiters();

  Loop& loop_;
  Resolver* resolver_;
  std::shared_ptr<EndpointTable> table_;
  std::string key_;
  Admission admission_;
  PickRule rule_;
  UpstreamPlan::Type type_ = UpstreamPlan::Type::kRoundRobin;
  bool checked_ = false;  // the configuration has checks
  ResolvedNodes nodes_;   // none when the plan came with the snapshot
  std::shared_ptr<const UpstreamPlan> plan_;
  std::vector<std::shared_ptr<Endpoint>> endpoints_;  // those of plan_
  std::shared_ptr<Planning> planning_;                // null: none is being made
  std::unique_ptr<Timer> planning_timer_;             // made at the first wait
  bool planning_waits_ = false;                       // for that timer
  bool names_changed_ = false;                        // since planning began
  PlanPace plan_pace_;
  Picker picker_;
  std::string key_scratch_;
  uint32_t attempts_ = 0;
  IntrusiveList<Waiter> waiters_;
};

// Does the node have to be looked up (neither an IP address nor a UNIX path)?
bool IsNodeName(const conf::NodeConfig& node);

// Closes the idle connections of an endpoint and keeps no further ones.
void RetireEndpoint(Endpoint& endpoint);

}  // namespace sluice
