// The controller: the only one that reads configuration. It leads reloads (asked for by HUP, by the
// control socket, or by a change of the files) and touches no traffic: when it dies, the workers
// serve on, and its successor finds the committed revision in what master hands it.
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <signal.h>

#include "gateway/base/log.h"
#include "gateway/control/control_server.h"
#include "gateway/control/health_checker.h"
#include "gateway/control/messages.h"
#include "gateway/control/metrics_server.h"
#include "gateway/control/privileges.h"
#include "gateway/control/reload.h"
#include "gateway/control/role.h"
#include "gateway/control/status.h"
#include "gateway/net/ipc_channel.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/proxy/endpoint_table.h"

namespace sluice {
namespace {

class Controller final : public IpcChannel::Observer {
 public:
  explicit Controller(Loop& loop) : loop_(loop) {}
  ~Controller() { CountLogLines(nullptr, nullptr); }
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;
  int Run();

  // IpcChannel::Observer
  void OnMessage(IpcMessage message) override;
  void OnChannelClosed(Status why) override;

 private:
  Status HandleMessage(IpcMessage& message);
  Status OnStart(IpcMessage& message);
  Status BeginChecks(const conf::Config& config);
  void ServeMetrics(UniqueFd socket);
  void CountReload(bool committed);
  Status OnAnswer(const IpcMessage& message);
  void OnCommand(uint64_t id, const ControlRequest& request);
  void WatchFiles(const std::vector<std::string>& files);
  void Send(MessageType type, const std::string& payload, int document);
  void End(int exit_code);

  Loop& loop_;
  std::unique_ptr<IpcChannel> channel_;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<Reload> reload_;
  std::shared_ptr<EndpointTable> endpoints_;
  std::shared_ptr<MetricSlabs> slabs_;
  std::shared_ptr<const UniqueFd> limits_;  // memory of SharedLimits, for so many keys
  uint64_t limit_keys_ = 0;
  std::unique_ptr<HealthChecker> health_;
  std::unique_ptr<MetricsServer> metrics_;
  std::map<std::string, std::unique_ptr<FileWatcher>> watched_;
  std::unique_ptr<SignalWatcher> terminate_;
  bool ended_ = false;
  int exit_code_ = 0;
};

int Controller::Run() {
  channel_ = OpenChannel(loop_, *this);
  if (channel_ == nullptr) return 1;
  terminate_ = std::make_unique<SignalWatcher>(loop_, SIGTERM, [this] { End(0); });
  loop_.Run();
  return exit_code_;
}

void Controller::OnMessage(IpcMessage message) {
  if (ended_) return;
  const uint32_t type = message.type;
  const Status handled = HandleMessage(message);
  if (handled.has_value()) return;
  LogRefusedMessage(type, handled.error());
  End(1);
}

void Controller::OnChannelClosed(Status why) {
  if (ended_) return;
  Log(LogLevel::kError, "master is gone",
      {{"reason", why.has_value() ? "end of the channel" : why.error().detail}});
  End(0);
}

Status Controller::HandleMessage(IpcMessage& message) {
  const auto type = static_cast<MessageType>(message.type);
  if (type == MessageType::kQuit || type == MessageType::kQuitNow) {
    End(0);
    return {};
  }
  if ((type == MessageType::kStartController) == (reload_ != nullptr)) {
    return GatewayError(ErrorCode::kInternal, "the first message, and only it, is the start");
  }
  switch (type) {
    case MessageType::kStartController:
      return OnStart(message);
    case MessageType::kLogs:
      if (message.fds.size() != 1) return GatewayError(ErrorCode::kInternal, "one log is expected");
      return TakeErrorLog(message.fds[0]);
    case MessageType::kMetrics:
      if (message.fds.size() > 1) return GatewayError(ErrorCode::kInternal, "one socket at most");
      metrics_.reset();
      if (!message.fds.empty()) ServeMetrics(std::move(message.fds[0]));
      return {};
    case MessageType::kReload:
      reload_->Request("signal", false);
      return {};
    default:
      return OnAnswer(message);
  }
}

Status Controller::OnStart(IpcMessage& message) {
  SLUICE_ASSIGN_OR_RETURN(const ControllerStart start, ControllerStart::Unpack(message.payload));
  if (message.fds.size() < 6 || message.fds.size() > 7) {
    return GatewayError(ErrorCode::kInternal,
                        "document, log, control socket, endpoint table, metric slabs, limits and "
                        "perhaps a socket for metrics are expected");
  }
  SLUICE_ASSIGN_OR_RETURN(endpoints_,
                          EndpointTable::Map(message.fds[3], start.processes, start.processes - 1));
  SLUICE_ASSIGN_OR_RETURN(slabs_,
                          MetricSlabs::Map(message.fds[4], start.processes, start.processes - 1));
  limits_ = std::make_shared<const UniqueFd>(std::move(message.fds[5]));
  limit_keys_ = start.limit_keys;
  CountLogLines(&slabs_->own().warnings, &slabs_->own().errors);
  SLUICE_TRY(TakeErrorLog(message.fds[1]));
  SLUICE_TRY(DropPrivileges(start.account, Keep::kReading));
  SLUICE_ASSIGN_OR_RETURN(const std::string document, ReadDocument(message.fds[0].get()));
  conf::Diagnostics diagnostics;
  auto committed = conf::DecodeDocument(document, diagnostics);
  if (committed == nullptr) {
    return GatewayError(ErrorCode::kInternal, "the committed revision: " + diagnostics.ToText());
  }
  SetLogLevel(committed->gateway.error_log.level);
  health_ = std::make_unique<HealthChecker>(loop_, endpoints_);
  SLUICE_TRY(BeginChecks(*committed));
  reload_ = std::make_unique<Reload>(
      loop_, start, std::move(committed),
      Reload::Observer{
          .send = [this](MessageType type, const std::string& payload,
                         int fd) { Send(type, payload, fd); },
          .on_files = [this](const std::vector<std::string>& files) { WatchFiles(files); },
          .on_committed = [this](const conf::Config& config,
                                 const TlsResources& tls) { health_->Adopt(config, &tls); },
          .on_result = [this](bool served) { CountReload(served); }});
  if (message.fds.size() == 7) ServeMetrics(std::move(message.fds[6]));
  SLUICE_ASSIGN_OR_RETURN(
      server_, ControlServer::Make(
                   loop_, std::move(message.fds[2]),
                   [this](uint64_t id, const ControlRequest& request) { OnCommand(id, request); }));
  Send(MessageType::kReady, {}, -1);
  // The file may have changed while nobody was looking; this also finds out what to watch.
  reload_->Request("start", true);
  return {};
}

// What a reload brings along has to be made at the start.
Status Controller::BeginChecks(const conf::Config& config) {
  std::shared_ptr<const TlsResources> tls;
  if (HasHttpsChecks(config)) {
    conf::Diagnostics diagnostics;
    tls = TlsResources::Make(config, nullptr, nullptr, diagnostics);
    if (tls == nullptr) {
      return GatewayError(ErrorCode::kInternal, "the committed revision: " + diagnostics.ToText());
    }
  }
  health_->Adopt(config, tls.get());
  return {};
}

void Controller::ServeMetrics(UniqueFd socket) {
  metrics_ = std::make_unique<MetricsServer>(loop_, std::move(socket), [this] {
    return MetricsSources{.config = reload_->committed_config(),
                          .revision = reload_->revision(),
                          .endpoints = endpoints_,
                          .slabs = slabs_,
                          .limits = limits_,
                          .limit_keys = limit_keys_};
  });
}

void Controller::CountReload(bool committed) {
  ProcessCounters& counters = slabs_->own();
  (committed ? counters.reloads : counters.reloads_refused).Add();
  if (committed)
    counters.last_reload.Set(static_cast<uint64_t>(WallNow().time_since_epoch() / seconds(1)));
}

Status Controller::OnAnswer(const IpcMessage& message) {
  const auto type = static_cast<MessageType>(message.type);
  const bool refused = type == MessageType::kRefused;
  MessageReader reader(message.payload);
  const uint64_t revision = reader.Number();
  const bool retry = refused && reader.Number(1) == 1;
  const std::string text = refused ? reader.Text() : std::string();
  SLUICE_TRY(reader.Finish("answer of master"));
  if (refused) {
    reload_->OnRefused(revision, retry, text);
  } else if (type == MessageType::kPrepared) {
    reload_->OnPrepared(revision);
  } else if (type == MessageType::kCommitted) {
    reload_->OnCommitted(revision);
  } else {
    return GatewayError(ErrorCode::kInternal, "a message of this type is not for the controller");
  }
  return {};
}

void Controller::OnCommand(uint64_t id, const ControlRequest& request) {
  if (request.command == "reload") {
    return reload_->Request("command", false, [this, id](const ReloadReport& report) {
      server_->Reply(id, report.ToJson());
    });
  }
  const HostStatus status(reload_->committed(), *endpoints_);
  if (request.command == "status") {
    return server_->Reply(id, status.ToJson(reload_->revision(), ReadPlugins(*slabs_)));
  }
  if (request.command == "node") {
    const auto done = status.OrderNode(request.Argument("order"), request.Argument("upstream"),
                                       request.Argument("node"));
    return server_->Reply(
        id, done.has_value() ? *done : ControlServer::ErrorReply(done.error().detail));
  }
  server_->Reply(id, ControlServer::ErrorReply("there is no command \"" + request.command +
                                               "\"; expected \"reload\", \"status\" or \"node\""));
}

void Controller::WatchFiles(const std::vector<std::string>& files) {
  std::set<std::string> wanted;
  for (const std::string& file : files) {
    wanted.insert(file);
    // A link's target may change without the link.
    const std::unique_ptr<char, decltype(&std::free)> target(realpath(file.c_str(), nullptr),
                                                             &std::free);
    if (target != nullptr) wanted.insert(target.get());
  }
  std::erase_if(watched_, [&](const auto& entry) { return !wanted.contains(entry.first); });
  bool added = false;
  for (const std::string& file : wanted) {
    if (watched_.contains(file)) continue;
    auto watcher =
        FileWatcher::Make(loop_, file, [this] { reload_->Request("file change", true); });
    if (watcher.has_value()) {
      watched_.emplace(file, std::move(*watcher));
      added = true;
    } else {
      Log(LogLevel::kWarn, "changes of a file will not be noticed",
          {{"file", file}, {"reason", watcher.error().detail}});
    }
  }
  // It may have changed between being read and being watched.
  if (added) reload_->Request("file change", true);
}

void Controller::Send(MessageType type, const std::string& payload, int document) {
  const std::array<int, 1> fds = {document};
  const Status sent = channel_->Send(static_cast<uint32_t>(type), payload,
                                     std::span(fds.data(), document >= 0 ? 1 : 0));
  if (sent.has_value()) return;
  Log(LogLevel::kError, "cannot talk to master", {{"reason", sent.error().detail}});
  End(1);
}

void Controller::End(int exit_code) {
  if (std::exchange(ended_, true)) return;
  exit_code_ = exit_code;
  loop_.Stop();
}

}  // namespace

int RunController() {
  const auto loop = BeginRole("controller");
  if (loop == nullptr) return 1;
  Controller controller(*loop);
  return controller.Run();
}

}  // namespace sluice
