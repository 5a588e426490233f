// A worker: serves traffic with what master hands it, sockets, logs and revisions, and never looks
// for anything itself. A revision is built on a pool thread and swapped in between two loop turns.
#include <memory>
#include <optional>
#include <utility>

#include <signal.h>

#include "gateway/base/log.h"
#include "gateway/control/messages.h"
#include "gateway/control/privileges.h"
#include "gateway/control/role.h"
#include "gateway/net/ipc_channel.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"
#include "gateway/plugin/shared_limits.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/proxy_server.h"

namespace sluice {
namespace {

class Worker final : public IpcChannel::Observer {
 public:
  explicit Worker(Loop& loop) : loop_(loop), drain_limit_(loop) {}
  ~Worker() { CountLogLines(nullptr, nullptr); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  int Run();

  // IpcChannel::Observer
  void OnMessage(IpcMessage message) override;
  void OnChannelClosed(Status why) override;

 private:
  // A revision on its way: built off the loop, adopted when both built and committed.
  struct Pending {
    uint64_t revision = 0;
    bool first = false;  // the one to start with
    bool committed = false;
    UniqueFd document;
    ProxyServer::Revision built;     // with a snapshot when that succeeded
    ProxyServer::Revision previous;  // from which is taken what has not changed
    std::shared_ptr<const TicketKeys> ticket_keys;
    std::shared_ptr<MetricSlabs> slabs;
    std::string error;
  };

  Status HandleMessage(IpcMessage& message);
  Status OnStart(IpcMessage& message);
  Status OnListen(IpcMessage& message);
  Status OnUnlisten(const IpcMessage& message);
  Status OnLogs(IpcMessage& message);
  Status OnPrepare(IpcMessage& message);
  Status OnCommit(const IpcMessage& message);

  void Build(uint64_t revision, UniqueFd document, bool first);
  static void BuildSnapshot(Pending& pending);
  void OnBuilt(const std::shared_ptr<Pending>& built);
  void Adopt(const Pending& pending);
  Status SetAccessLog(UniqueFd fd);
  void Answer(MessageType type, const std::string& payload = {});

  void Drain(std::optional<Duration> limit);
  void End(int exit_code);

  Loop& loop_;
  Timer drain_limit_;
  std::unique_ptr<SignalWatcher> terminate_;
  std::unique_ptr<IpcChannel> channel_;
  std::unique_ptr<ProxyServer> server_;
  std::shared_ptr<Pending> pending_;
  ProxyServer::Revision current_;
  std::shared_ptr<const TicketKeys> ticket_keys_;
  std::shared_ptr<MetricSlabs> slabs_;
  uint32_t index_ = 0;
  UniqueFd access_log_;  // waits for the first snapshot, which names the format
  bool draining_ = false;
  bool ended_ = false;
  int exit_code_ = 0;
};

int Worker::Run() {
  channel_ = OpenChannel(loop_, *this);
  if (channel_ == nullptr) return 1;
  // An operator may end one worker gently; master starts another.
  terminate_ = std::make_unique<SignalWatcher>(loop_, SIGTERM, [this] { Drain(std::nullopt); });
  loop_.Run();
  server_.reset();
  return exit_code_;
}

void Worker::OnMessage(IpcMessage message) {
  if (ended_) return;
  const uint32_t type = message.type;
  const Status handled = HandleMessage(message);
  if (handled.has_value()) return;
  LogRefusedMessage(type, handled.error());
  End(1);
}

Status Worker::HandleMessage(IpcMessage& message) {
  const auto type = static_cast<MessageType>(message.type);
  if (type == MessageType::kQuit) {
    Drain(std::nullopt);
    return {};
  }
  if (type == MessageType::kQuitNow) {
    End(0);
    return {};
  }
  if ((type == MessageType::kStartWorker) == (server_ != nullptr)) {
    return GatewayError(ErrorCode::kInternal, "the first message, and only it, is the start");
  }
  switch (type) {
    case MessageType::kStartWorker:
      return OnStart(message);
    case MessageType::kListen:
      return OnListen(message);
    case MessageType::kUnlisten:
      return OnUnlisten(message);
    case MessageType::kLogs:
      return OnLogs(message);
    case MessageType::kPrepare:
      return OnPrepare(message);
    case MessageType::kCommit:
      return OnCommit(message);
    case MessageType::kAbort:
      if (pending_ != nullptr && !pending_->first) pending_.reset();
      return {};
    default:
      return GatewayError(ErrorCode::kInternal, "a message of this type is not for a worker");
  }
}

Status Worker::OnStart(IpcMessage& message) {
  SLUICE_ASSIGN_OR_RETURN(const WorkerStart start, WorkerStart::Unpack(message.payload));
  if (message.fds.size() < 6 || message.fds.size() > 7) {
    return GatewayError(ErrorCode::kInternal,
                        "document, session ticket keys, endpoint table, limits, metric slabs and "
                        "logs are expected");
  }
  index_ = start.index;
  SLUICE_ASSIGN_OR_RETURN(ticket_keys_, TicketKeys::Map(message.fds[1]));
  HostMemory memory;
  SLUICE_ASSIGN_OR_RETURN(memory.endpoints,
                          EndpointTable::Map(message.fds[2], start.processes, start.index));
  SLUICE_ASSIGN_OR_RETURN(memory.limits, SharedLimits::Map(message.fds[3], start.limit_keys,
                                                           start.processes - 1, start.index));
  SLUICE_ASSIGN_OR_RETURN(slabs_, MetricSlabs::Map(message.fds[4], start.processes, start.index));
  memory.slabs = slabs_;
  SetLogRole("worker-" + std::to_string(start.index));
  CountLogLines(&slabs_->own().warnings, &slabs_->own().errors);
  SLUICE_TRY(TakeErrorLog(message.fds[5]));
  SLUICE_TRY(DropPrivileges(start.account, Keep::kNothing));
  if (message.fds.size() == 7) access_log_ = std::move(message.fds[6]);
  server_ = std::make_unique<ProxyServer>(loop_, start.index, std::move(memory));
  Build(start.revision, std::move(message.fds[0]), true);
  return {};
}

Status Worker::OnListen(IpcMessage& message) {
  MessageReader reader(message.payload);
  const std::string bound_text = reader.Text();
  const std::string configured_text = reader.Text();
  SLUICE_TRY(reader.Finish("listen"));
  if (message.fds.size() != 1) return GatewayError(ErrorCode::kInternal, "no listening socket");
  SLUICE_ASSIGN_OR_RETURN(const auto bound, SocketAddress::Make(bound_text));
  SLUICE_ASSIGN_OR_RETURN(const auto configured, SocketAddress::Make(configured_text));
  if (draining_) return {};
  server_->AddListener(message.fds[0].Release(), bound, configured);
  return {};
}

Status Worker::OnUnlisten(const IpcMessage& message) {
  MessageReader reader(message.payload);
  const std::string text = reader.Text();
  SLUICE_TRY(reader.Finish("unlisten"));
  SLUICE_ASSIGN_OR_RETURN(const SocketAddress address, SocketAddress::Make(text));
  server_->RemoveListener(address);
  return {};
}

Status Worker::OnPrepare(IpcMessage& message) {
  MessageReader reader(message.payload);
  const uint64_t revision = reader.Number();
  SLUICE_TRY(reader.Finish("prepare"));
  if (message.fds.size() != 1) return GatewayError(ErrorCode::kInternal, "no document");
  Build(revision, std::move(message.fds[0]), false);
  return {};
}

Status Worker::OnLogs(IpcMessage& message) {
  if (message.fds.empty() || message.fds.size() > 2) {
    return GatewayError(ErrorCode::kInternal, "one or two logs are expected");
  }
  SLUICE_TRY(TakeErrorLog(message.fds[0]));
  return SetAccessLog(message.fds.size() == 2 ? std::move(message.fds[1]) : UniqueFd());
}

Status Worker::SetAccessLog(UniqueFd fd) {
  if (current_.snapshot == nullptr) {
    access_log_ = std::move(fd);
  } else if (!fd) {
    server_->SetAccessLog(nullptr);
  } else if (server_->access_log() != nullptr) {
    server_->access_log()->Reopen(fd.Release());
  } else {
    SLUICE_ASSIGN_OR_RETURN(auto format,
                            AccessLogFormat::Make(current_.snapshot->gateway().access_log.format));
    server_->SetAccessLog(std::make_unique<AccessLog>(fd.Release(), std::move(format)));
  }
  return {};
}

// Revisions

void Worker::Build(uint64_t revision, UniqueFd document, bool first) {
  auto pending = std::make_shared<Pending>();
  pending->revision = revision;
  pending->first = first;
  pending->committed = first;
  pending->document = std::move(document);
  pending->previous = current_;
  pending->ticket_keys = ticket_keys_;
  pending->slabs = slabs_;
  pending_ = pending;
  // Only a build that is still wanted finds its way back: this object dies before the loop does.
  std::weak_ptr<Pending> wanted = pending;
  loop_.RunOffLoop(
      [pending = std::move(pending)]() mutable {
        BuildSnapshot(*pending);
        pending.reset();
      },
      [this, wanted] {
        if (const auto built = wanted.lock()) OnBuilt(built);
      });
}

void Worker::BuildSnapshot(Pending& pending) {
  auto text = ReadDocument(pending.document.get());
  pending.document.Reset();
  if (!text.has_value()) {
    pending.error = text.error().detail;
    return;
  }
  conf::Diagnostics diagnostics;
  auto config = conf::DecodeDocument(*text, diagnostics);
  text->clear();
  ProxyServer::Revision& built = pending.built;
  if (config != nullptr) {
    built.tls =
        TlsResources::Make(*config, pending.ticket_keys, pending.previous.tls.get(), diagnostics);
    if (built.tls != nullptr) {
      built.plans = UpstreamPlans::Make(*config, pending.previous.plans.get());
      built.snapshot = Snapshot::Make(std::move(config), pending.revision, diagnostics);
      if (built.snapshot != nullptr) {
        built.series = SnapshotSeries::Make(*built.snapshot, pending.slabs);
      }
    }
  }
  pending.previous = {};
  if (built.snapshot == nullptr) pending.error = diagnostics.ToText();
}

void Worker::OnBuilt(const std::shared_ptr<Pending>& built) {
  if (built != pending_ || ended_) return;
  if (built->built.snapshot == nullptr) {
    pending_.reset();
    if (built->committed) {
      Log(LogLevel::kError, "the committed revision cannot be built",
          {{"revision", built->revision}, {"reason", built->error}});
      return End(1);
    }
    return Answer(
        MessageType::kRefused,
        MessageWriter().Number(built->revision).Text(built->error.substr(0, 32 * 1024)).Take());
  }
  if (!built->first) Answer(MessageType::kPrepared, MessageWriter().Number(built->revision).Take());
  if (built->committed) Adopt(*built);
}

Status Worker::OnCommit(const IpcMessage& message) {
  MessageReader reader(message.payload);
  const uint64_t revision = reader.Number();
  SLUICE_TRY(reader.Finish("commit"));
  if (pending_ == nullptr || pending_->revision != revision) {
    return GatewayError(ErrorCode::kInternal,
                        "revision " + std::to_string(revision) + " was not prepared here");
  }
  pending_->committed = true;
  if (pending_->built.snapshot != nullptr) Adopt(*std::shared_ptr<Pending>(pending_));
  return {};
}

void Worker::Adopt(const Pending& pending) {
  const bool first = pending.first;
  const uint64_t revision = pending.revision;
  const auto previous = std::exchange(current_, pending.built);
  pending_.reset();
  const conf::GatewayConfig& gateway = current_.snapshot->gateway();
  SetLogLevel(gateway.error_log.level);
  server_->Adopt(current_);
  // Once is enough: the workers have all the same.
  for (const std::string& warning : current_.tls->warnings()) {
    if (index_ == 0) Log(LogLevel::kWarn, "certificate", {{"reason", warning}});
  }
  Status logged;
  if (first) {
    logged = SetAccessLog(std::move(access_log_));
  } else if (server_->access_log() != nullptr &&
             previous.snapshot->gateway().access_log.format != gateway.access_log.format) {
    auto format = AccessLogFormat::Make(gateway.access_log.format);
    if (format.has_value()) {
      server_->access_log()->SetFormat(std::move(*format));
    } else {
      logged = std::move(format).error();
    }
  }
  if (!logged.has_value()) {
    Log(LogLevel::kError, "no access log", {{"reason", logged.error().detail}});
  }
  if (first) {
    Answer(MessageType::kReady);
  } else {
    Answer(MessageType::kCommitted, MessageWriter().Number(revision).Take());
  }
}

void Worker::Answer(MessageType type, const std::string& payload) {
  if (channel_ == nullptr) return;
  const Status sent = channel_->Send(static_cast<uint32_t>(type), payload);
  if (!sent.has_value()) Log(LogLevel::kError, "cannot answer", {{"reason", sent.error().detail}});
}

// The end

void Worker::OnChannelClosed(Status why) {
  if (ended_) return;
  if (!why.has_value()) {
    Log(LogLevel::kError, "the channel to master broke", {{"reason", why.error().detail}});
  } else if (!draining_) {
    Log(LogLevel::kError, "master is gone: draining");
  }
  // Nobody else would end a drain that does not come to an end.
  Drain(current_.snapshot != nullptr ? current_.snapshot->gateway().timeouts.shutdown
                                     : Duration::zero());
}

void Worker::Drain(std::optional<Duration> limit) {
  if (limit.has_value()) drain_limit_.Start(*limit, [this] { End(0); });
  if (std::exchange(draining_, true)) return;
  if (server_ == nullptr) return End(0);
  server_->Drain([this] { End(0); });
}

void Worker::End(int exit_code) {
  if (std::exchange(ended_, true)) return;
  exit_code_ = exit_code;
  if (server_ == nullptr) return loop_.Stop();
  // The connections that are closed here end in a later turn, and the server must see it.
  server_->CloseAll();
  server_->Drain([this] {
    const ProxyServer::Stats stats = server_->stats();
    Log(LogLevel::kInfo, "ended",
        {{"connections", stats.connections_accepted}, {"requests", stats.requests}});
    loop_.Post([this] { loop_.Stop(); });
  });
}

}  // namespace

int RunWorker() {
  const auto loop = BeginRole("worker");
  if (loop == nullptr) return 1;
  Worker worker(*loop);
  return worker.Run();
}

}  // namespace sluice
