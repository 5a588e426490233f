#include "gateway/proxy/proxy_server.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gateway/base/log.h"
#include "gateway/net/listener.h"
#include "gateway/net/resolver.h"
#include "gateway/net/watchers.h"
#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/own_request.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {
namespace {

constexpr Duration kLogFlushInterval = milliseconds(200);

bool HasNodeNames(const conf::Config& config) {
  return std::any_of(config.upstreams.begin(), config.upstreams.end(), [](const auto& upstream) {
    return std::any_of(upstream.nodes.begin(), upstream.nodes.end(), IsNodeName);
  });
}

}  // namespace

// A listening socket with what is spoken on it, which a reload may change.
struct OpenListener {
  SocketAddress configured;
  conf::ListenConfig config;  // with the address that is bound
  std::unique_ptr<Listener> socket;
};

struct ProxyServer::Core final : Deadline::Observer {
  Core(Loop& loop, uint32_t worker_index, std::shared_ptr<MetricSlabs> slabs)
      : context(loop, worker_index, std::move(slabs)),
        log_flush(loop.deadlines(), *this),
        goodbye(loop) {
    context.on_connection_closed = [this] { OnConnectionClosed(); };
    context.on_room = [this] { LookForRoom(); };
    log_flush.Set(loop.now() + kLogFlushInterval);
  }

  // Lines reach the file soon also when few requests come.
  void OnDeadline() override {
    if (context.access_log != nullptr) {
      context.access_log->Flush();
      CountDroppedLines();
    }
    log_flush.Set(context.loop.now() + kLogFlushInterval);
  }

  void OnAccept(int fd, const SocketAddress& peer, const conf::ListenConfig& listen);
  bool MakeRoom();
  void LookForRoom();
  void ResumeAccepting();
  void UpdateListeners(const conf::GatewayConfig& gateway);
  void OnConnectionClosed();
  void UpdateUpstreams(const conf::Config& config, const UpstreamPlans& plans,
                       ActiveSnapshot& active);
  void StartResolver();
  void CountDroppedLines();
  void CloseUpstreams();
  template <typename Visit>
  void ForEachClient(Visit visit) {
    for (ClientConnection* client = context.clients.front(); client != nullptr;
         client = context.clients.Next(*client)) {
      visit(*client);
    }
  }

  std::unique_ptr<Resolver> resolver;  // made when the first node is a name; outlives the upstreams
  ProxyContext context;
  Deadline log_flush;
  Timer goodbye;
  std::map<std::string, std::shared_ptr<UpstreamState>> upstreams;
  std::vector<std::unique_ptr<OpenListener>> listeners;
  bool room_is_looked_for = false;
  bool ended = false;  // by CloseAll: nobody waits any more
  MonoTime last_warning{};
  uint64_t lines_dropped = 0;  // of the present access log, as counted
  std::function<void()> on_drained;
};

ProxyServer::ProxyServer(Loop& loop, uint32_t worker_index, HostMemory memory)
    : core_(std::make_unique<Core>(loop, worker_index, std::move(memory.slabs))) {
  core_->context.endpoints = std::move(memory.endpoints);
  core_->context.limits = std::move(memory.limits);
}

ProxyServer::~ProxyServer() {
  core_->context.on_connection_closed = nullptr;
  SLUICE_CHECK(core_->context.clients.empty() && core_->context.upstream_connections.empty());
}

void ProxyServer::AddListener(int fd, const SocketAddress& bound, const SocketAddress& configured) {
  Core& core = *core_;
  auto listener = std::make_unique<OpenListener>();
  listener->configured = configured;
  listener->config.address = bound;
  listener->socket = std::make_unique<Listener>(
      core.context.loop, fd, bound,
      [&core, &listen = listener->config](int accepted, const SocketAddress& peer) {
        core.OnAccept(accepted, peer, listen);
      });
  core.listeners.push_back(std::move(listener));
  if (core.context.active == nullptr) return;
  core.UpdateListeners(core.context.gateway());
  core.listeners.back()->socket->Resume();
}

void ProxyServer::RemoveListener(const SocketAddress& address) {
  auto& listeners = core_->listeners;
  const auto found = std::find_if(listeners.begin(), listeners.end(), [&](const auto& listener) {
    return listener->config.address == address;
  });
  if (found == listeners.end()) return;
  (*found)->socket->AcceptQueued();
  listeners.erase(found);
  core_->context.loop.FlushDirty();
}

void ProxyServer::Core::OnAccept(int fd, const SocketAddress& peer,
                                 const conf::ListenConfig& listen) {
  ClientConnection::Accept(context, fd, peer, listen);
  if (context.connections_open < context.gateway().limits.worker_connections || MakeRoom()) return;
  context.accepting_paused = true;
  context.counters.accept_pauses.Add();
  if (context.loop.now() - last_warning >= seconds(1)) {
    last_warning = context.loop.now();
    Log(LogLevel::kWarn, "accepting is paused: worker_connections is reached",
        {{"worker_connections", context.gateway().limits.worker_connections}});
  }
  for (const auto& other : listeners) other->socket->Pause();
}

// At the limit the connection that has been idle for longest gives way.
bool ProxyServer::Core::MakeRoom() {
  ClientConnection* idle = context.idle_clients.front();
  if (idle == nullptr) return false;
  context.counters.connections_displaced.Add();
  idle->Close(ErrorCode::kConnectionLimit);
  return true;
}

// An idle client may give way to one that waits in the queue: in a later turn, because this one is
// still being served by its protocol.
void ProxyServer::Core::LookForRoom() {
  if (std::exchange(room_is_looked_for, true)) return;
  context.loop.Post([this] {
    room_is_looked_for = false;
    if (!context.accepting_paused || context.idle_clients.front() == nullptr) return;
    const bool above = context.connections_open > context.gateway().limits.worker_connections;
    above ? static_cast<void>(MakeRoom()) : ResumeAccepting();
  });
}

void ProxyServer::Core::ResumeAccepting() {
  context.accepting_paused = false;
  for (const auto& listener : listeners) listener->socket->Resume();
}

void ProxyServer::Core::OnConnectionClosed() {
  if (context.accepting_paused &&
      context.connections_open < context.gateway().limits.worker_connections) {
    ResumeAccepting();
  }
  if (!on_drained || !context.clients.empty()) return;
  context.plugin_services.End();
  // Each of these ends here again.
  if (context.plugin_services.is_busy()) return;
  if (context.own_requests_awaited > 0 && !ended) return;
  if (!context.upstream_connections.empty()) return CloseUpstreams();
  std::exchange(on_drained, nullptr)();
}

void ProxyServer::Adopt(Revision revision) {
  Core& core = *core_;
  const conf::GatewayConfig& gateway = revision.snapshot->gateway();
  core.context.client_limits.request_line = gateway.limits.request_line;
  core.context.client_limits.head = gateway.limits.header_size;
  core.context.client_limits.fields = gateway.limits.header_count;
  core.context.http2_limits.streams = gateway.limits.http2_streams;
  auto active = std::make_shared<ActiveSnapshot>();
  core.UpdateUpstreams(revision.snapshot->config(), *revision.plans, *active);
  core.UpdateListeners(gateway);
  active->tls = std::move(revision.tls);
  active->series = std::move(revision.series);
  active->snapshot = std::move(revision.snapshot);
  const bool first = core.context.active == nullptr;
  core.context.active = std::move(active);
  if (!first) return;
  for (const auto& listener : core.listeners) listener->socket->Resume();
}

void ProxyServer::Core::UpdateListeners(const conf::GatewayConfig& gateway) {
  for (const conf::ListenConfig& listen : gateway.listen) {
    for (const auto& listener : listeners) {
      if (listener->configured != listen.address) continue;
      const SocketAddress bound = listener->config.address;
      listener->config = listen;
      listener->config.address = bound;
    }
  }
}

void ProxyServer::Core::StartResolver() {
  auto made = Resolver::Make(context.loop, {});
  if (made.has_value()) {
    resolver = std::move(*made);
  } else {
    Log(LogLevel::kError, "names of nodes cannot be resolved", {{"detail", made.error().detail}});
  }
}

void ProxyServer::Core::UpdateUpstreams(const conf::Config& config, const UpstreamPlans& plans,
                                        ActiveSnapshot& active) {
  std::map<std::string, std::shared_ptr<UpstreamState>> kept;
  if (resolver == nullptr && HasNodeNames(config)) StartResolver();
  for (size_t i = 0; i < config.upstreams.size(); ++i) {
    const conf::UpstreamConfig& upstream = config.upstreams[i];
    auto& state = kept[upstream.key];
    if (const auto found = upstreams.find(upstream.key); found != upstreams.end()) {
      state = found->second;
      state->SetResolver(resolver.get());
    } else {
      const uint64_t seed = context.NextRequestId().low;
      state = std::make_shared<UpstreamState>(context.loop, resolver.get(), context.endpoints,
                                              upstream.key, seed);
    }
    state->Update(upstream, plans.of(i));
    active.upstreams.push_back(state);
  }
  for (const auto& [key, state] : upstreams) {
    if (!kept.contains(key)) state->Retire();
  }
  upstreams = std::move(kept);
}

// The log's writer counts for itself; here it is for all.
void ProxyServer::Core::CountDroppedLines() {
  const uint64_t dropped = context.access_log->dropped();
  context.counters.log_lines_dropped.Add(dropped - std::exchange(lines_dropped, dropped));
}

void ProxyServer::SetAccessLog(std::unique_ptr<AccessLog> log) {
  if (core_->context.access_log != nullptr) core_->CountDroppedLines();
  core_->lines_dropped = 0;
  core_->context.access_log = std::move(log);
}

AccessLog* ProxyServer::access_log() { return core_->context.access_log.get(); }

void ProxyServer::Drain(std::function<void()> done) {
  Core& core = *core_;
  core.context.draining = true;
  for (const auto& listener : core.listeners) listener->socket->AcceptQueued();
  core.listeners.clear();
  core.context.accepting_paused = false;
  core.ForEachClient([](ClientConnection& client) { client.BeginDrain(); });
  core.on_drained = std::move(done);
  if (core.context.clients.empty()) {
    core.context.loop.Post([&core] { core.OnConnectionClosed(); });
  }
  core.context.loop.FlushDirty();
}

void ProxyServer::Core::CloseUpstreams() {
  // Those that nobody waits for, copies of a mirror, hold their connections.
  // Ending one may begin another.
  std::vector<uint64_t> unwanted;
  for (const auto& [number, request] : context.own_requests) unwanted.push_back(number);
  for (const uint64_t number : unwanted) {
    const auto found = context.own_requests.find(number);
    if (found != context.own_requests.end()) found->second->Abandon(ErrorCode::kDraining);
  }
  for (UpstreamSocket* connection = context.upstream_connections.front(); connection != nullptr;
       connection = context.upstream_connections.Next(*connection)) {
    connection->Abort();
  }
}

void ProxyServer::CloseAll() {
  Core& core = *core_;
  core.ended = true;
  core.listeners.clear();
  core.context.accepting_paused = false;
  core.ForEachClient([](ClientConnection& client) { client.End(ErrorCode::kDraining); });
  core.context.loop.FlushDirty();
  core.CloseUpstreams();
  core.goodbye.Start(kGoodbyeTime, [&core] {
    core.ForEachClient([](ClientConnection& client) { client.Close(ErrorCode::kDraining); });
  });
}

ProxyServer::Stats ProxyServer::stats() const {
  const ProxyContext& context = core_->context;
  return {.connections_active = context.connections_open,
          .connections_accepted = context.connections_accepted,
          .requests = context.requests};
}

}  // namespace sluice
