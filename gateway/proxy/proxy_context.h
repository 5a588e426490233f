// What all connections of one worker share. Owned by ProxyServer; outlives every connection.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/http/codec.h"
#include "gateway/http/http1_codec.h"
#include "gateway/http/http2_codec.h"
#include "gateway/net/loop.h"
#include "gateway/observe/access_log.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/plugin/ticket.h"
#include "gateway/proxy/plugin_services.h"
#include "gateway/proxy/tls_resources.h"
#include "gateway/snapshot/snapshot.h"
#include "gateway/snapshot/snapshot_series.h"

namespace sluice {

class ClientConnection;
class EndpointTable;
class Exchange;
class OwnRequest;
class SharedLimits;
class UpstreamState;

// A snapshot with the run-time state of its upstreams, by index. An exchange pins one.
struct ActiveSnapshot {
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<std::shared_ptr<UpstreamState>> upstreams;
  std::shared_ptr<const TlsResources> tls;
  std::shared_ptr<const SnapshotSeries> series;
};

// What the workers of a host share, as one of them has mapped it.
struct HostMemory {
  std::shared_ptr<EndpointTable> endpoints;
  std::shared_ptr<SharedLimits> limits;
  std::shared_ptr<MetricSlabs> slabs;
};

// A random-looking 128-bit id for each request, unique across workers.
struct RequestId {
  uint64_t high = 0;
  uint64_t low = 0;
};

struct ActiveTag {};
struct IdleTag {};
struct EndpointTag {};

// A connection to an upstream, as far as a worker's end is concerned.
class UpstreamSocket : public ListNode<ActiveTag> {
 public:
  virtual ~UpstreamSocket() = default;
  virtual void Abort() = 0;
};

class ProxyContext {
 public:
  ProxyContext(Loop& event_loop, uint32_t index, std::shared_ptr<MetricSlabs> metric_slabs);
  ~ProxyContext();
  ProxyContext(const ProxyContext&) = delete;
  ProxyContext& operator=(const ProxyContext&) = delete;

  const conf::GatewayConfig& gateway() const { return active->snapshot->gateway(); }

  // Exchanges are recycled, so that a request allocates nothing.
  std::unique_ptr<Exchange> TakeExchange();
  void GiveExchange(std::unique_ptr<Exchange> exchange);

  // Decoders too: a connection without a message has none. So most messages, which come whole, are
  // read in the same memory.
  std::unique_ptr<Http1Decoder> TakeDecoder(Http1Decoder::Role role);
  // It is fresh, or its taker calls StartMessage.
  void GiveDecoder(std::unique_ptr<Http1Decoder> decoder);

  // The one copy of a listener's address, for as long as the worker lives.
  const SocketAddress& Intern(const SocketAddress& address);
  // The same for the address a connection came in on; a host with very many of them gets
  // `listener` instead.
  const SocketAddress& InternLocal(const SocketAddress& address, const SocketAddress& listener);

  // Frees a connection whose stream is closed; called from its last callback.
  void Reap(UpstreamSocket& connection);
  void Reap(ClientConnection& connection);

  RequestId NextRequestId();
  std::string_view HttpDate();  // IMF-fixdate of now, cached for a second

  Loop& loop;
  const uint32_t worker_index;
  const std::shared_ptr<MetricSlabs> slabs;
  ProcessCounters& counters;  // this worker's
  const TickScale& tick_scale;
  std::shared_ptr<const ActiveSnapshot> active;  // null until the first Adopt
  std::unique_ptr<AccessLog> access_log;         // null: off
  std::shared_ptr<EndpointTable> endpoints;
  std::shared_ptr<SharedLimits> limits;
  CodecLimits client_limits;
  CodecLimits upstream_limits;
  Http2Limits http2_limits;
  Http2StreamPool http2_streams;
  SuspensionTable suspensions;
  WorkerServices plugin_services{*this};
  bool draining = false;
  uint64_t connections_open = 0;
  uint64_t connections_accepted = 0;
  uint64_t requests = 0;
  IntrusiveList<ClientConnection, ActiveTag> clients;
  IntrusiveList<ClientConnection, IdleTag> idle_clients;  // longest idle first
  IntrusiveList<UpstreamSocket, ActiveTag> upstream_connections;
  std::function<void()> on_connection_closed;
  std::unordered_map<uint64_t, std::unique_ptr<OwnRequest>> own_requests;  // under way, by number
  uint64_t own_requests_started = 0;
  uint64_t own_requests_awaited = 0;  // of these, by a worker that ends
  bool accepting_paused = false;      // worker_connections is reached
  std::function<void()> on_room;      // a client has become idle although accepting is paused

 private:
  const SocketAddress* FindInterned(const SocketAddress& address) const;

  std::vector<std::unique_ptr<Exchange>> free_exchanges_;
  std::array<std::vector<std::unique_ptr<Http1Decoder>>, 2> free_decoders_;  // by role
  std::vector<std::unique_ptr<const SocketAddress>> addresses_;
  uint64_t id_state_;
  int64_t date_second_ = -1;
  std::string date_;
};

}  // namespace sluice
