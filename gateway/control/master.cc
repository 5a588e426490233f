#include "gateway/control/master.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/log.h"
#include "gateway/control/console.h"
#include "gateway/control/machine.h"
#include "gateway/control/master_state.h"
#include "gateway/control/privileges.h"
#include "gateway/proxy/tls_resources.h"
#include "gateway/snapshot/snapshot.h"

namespace sluice {
namespace {

// Between "end at once" and SIGKILL.
constexpr Duration kKillDelay = seconds(5);
constexpr int kControlBacklog = 16;

PathOrigin OriginOf(const Options& options) { return {options.prefix, options.daemon}; }

Status MakeStateDirectory(const std::string& path, const Account& account) {
  std::error_code error;
  const bool created = std::filesystem::create_directories(path, error);
  if (error) return GatewayError(ErrorCode::kIo, "create " + path + ": " + error.message());
  if (created && !account.name.empty() && chown(path.c_str(), account.uid, account.gid) != 0) {
    return SystemError("chown " + path, errno);
  }
  return {};
}

}  // namespace

Master::Master(Loop& loop, const Options& options, UniqueFd ready_pipe)
    : loop_(loop),
      options_(options),
      ready_pipe_(std::move(ready_pipe)),
      controller_(loop, Role::kController, 0, *this),
      rollout_(
          loop, workers_,
          {.on_prepared =
               [this](uint64_t revision) {
                 controller_.Send(MessageType::kPrepared, MessageWriter().Number(revision).Take());
               },
           .on_refused = [this](uint64_t revision,
                                const Rollout::Refusal& why) { RefuseChange(revision, why); },
           .on_committed =
               [this](uint64_t revision) {
                 controller_.Send(MessageType::kCommitted, MessageWriter().Number(revision).Take());
               }}),
      stop_timer_(loop),
      watchdog_timer_(loop),
      ticket_timer_(loop) {}

Master::~Master() {
  CountLogLines(nullptr, nullptr);
  DropChange();
  for (ListenerSockets& listener : listeners_) listener.Remove();
  metrics_.Remove();
  if (control_socket_) unlink(settings_.control.c_str());
}

Status Master::Start(const conf::Config& config) {
  settings_ = ProcessSettings::Make(config, OriginOf(options_));
  SetLogLevel(settings_.log_level);
  SLUICE_ASSIGN_OR_RETURN(account_, ChooseAccount(settings_.user));
  SLUICE_TRY(MakeFiles());
  SLUICE_ASSIGN_OR_RETURN(document_, MakeDocument(conf::ToJson(config.document)));
  const int count = settings_.workers > 0 ? settings_.workers : AutomaticWorkers();
  for (int i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<ChildProcess>(loop_, Role::kWorker, i, *this));
  }
  SLUICE_TRY(MakeSockets());
  SLUICE_ASSIGN_OR_RETURN(ticket_keys_, TicketKeys::Make());
  RotateTicketKeys();
  const uint32_t roles = static_cast<uint32_t>(count) + 1;
  SLUICE_ASSIGN_OR_RETURN(endpoints_, EndpointTable::Make(roles));
  SLUICE_ASSIGN_OR_RETURN(limits_,
                          SharedLimits::Make(settings_.limit_keys, static_cast<uint32_t>(count)));
  SLUICE_ASSIGN_OR_RETURN(slabs_, MetricSlabs::Make(roles));
  CountLogLines(&slabs_->own().warnings, &slabs_->own().errors);
  RaiseLimits();
  WatchSignals();
  for (const auto& worker : workers_) SLUICE_TRY(StartChild(*worker));
  return StartChild(controller_);
}

Status Master::MakeFiles() {
  for (const std::string& path : {settings_.pid, settings_.control}) {
    SLUICE_TRY(MakeParentDirectory(path));
  }
  SLUICE_TRY(MakeStateDirectory(settings_.state_dir, account_));
  SLUICE_ASSIGN_OR_RETURN(pid_file_, PidFile::Make(settings_.pid));
  SLUICE_ASSIGN_OR_RETURN(logs_, LogFiles::Open(settings_));
  return {};
}

Status Master::MakeSockets() {
  SLUICE_ASSIGN_OR_RETURN(listeners_, OpenAdded(settings_));
  SLUICE_ASSIGN_OR_RETURN(metrics_, OpenMetrics(settings_.metrics));
  SLUICE_ASSIGN_OR_RETURN(const auto control, SocketAddress::Make("unix:" + settings_.control));
  SLUICE_ASSIGN_OR_RETURN(control_socket_, ListenOnPath(control, kControlBacklog, 0600));
  return {};
}

// Only one process rotates them, and this one lives as long as the gateway.
void Master::RotateTicketKeys() {
  ticket_timer_.StartRepeating(settings_.ticket_rotation, [this] {
    const Status rotated = ticket_keys_->Rotate();
    if (rotated.has_value()) return Log(LogLevel::kDebug, "session ticket keys rotated");
    Log(LogLevel::kError, "session ticket keys stay", {{"reason", rotated.error().detail}});
  });
}

void Master::RaiseLimits() {
  const uint64_t needed = OpenFilesNeeded(settings_.worker_connections);
  Status raised = RaiseOpenFiles(0, needed);
  ForEachChild([&](ChildProcess& child) {
    if (child.is_running() && raised.has_value()) raised = RaiseOpenFiles(child.pid(), needed);
  });
  if (raised.has_value()) return;
  Log(LogLevel::kWarn, "worker_connections needs more open files than allowed",
      {{"worker_connections", settings_.worker_connections}, {"reason", raised.error().detail}});
}

void Master::WatchSignals() {
  signal(SIGPIPE, SIG_IGN);
  const auto watch = [this](int number, std::function<void()> action) {
    signals_.push_back(std::make_unique<SignalWatcher>(loop_, number, std::move(action)));
  };
  watch(SIGTERM, [this] { OnTerminate(); });
  watch(SIGINT, [this] { OnTerminate(); });
  watch(SIGQUIT, [this] { Stop(std::nullopt); });
  watch(SIGHUP, [this] { controller_.Send(MessageType::kReload); });
  watch(SIGUSR1, [this] { ReopenLogs(); });
  watch(SIGCHLD, [this] { ForEachChild([](ChildProcess& child) { child.Reap(); }); });
}

int Master::Run() {
  loop_.Run();
  // We end; a signal that is still on its way must not change how.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  Log(LogLevel::kInfo, "ended");
  return exit_code_;
}

// Children

Status Master::StartChild(ChildProcess& child) {
  SLUICE_TRY(child.Start());
  if (child.role() == Role::kController) {
    IntroduceController();
  } else {
    IntroduceWorker(child);
  }
  return {};
}

void Master::IntroduceWorker(ChildProcess& worker) {
  const WorkerStart start{static_cast<uint32_t>(worker.index()), revision_, account_,
                          endpoints_->processes(), limits_->keys()};
  std::vector<int> fds = {document_.get(), ticket_keys_->memory().get(), endpoints_->memory().get(),
                          limits_->memory().get(), slabs_->memory().get()};
  for (const int fd : LogDescriptors()) fds.push_back(fd);
  worker.Send(MessageType::kStartWorker, start.Pack(), fds);
  for (ListenerSockets& listener : listeners_) {
    const Status opened = listener.ReopenSlot(worker.index());
    if (opened.has_value()) {
      SendListener(worker, listener);
    } else {
      Log(LogLevel::kError, "a worker does without a listener",
          {{"name", worker.name()}, {"reason", opened.error().detail}});
    }
  }
  rollout_.OnStarted(worker);
}

void Master::IntroduceController() {
  const ControllerStart start{.revision = revision_,
                              .next_revision = last_revision_ + 1,
                              .account = account_,
                              .config_path = options_.config,
                              .prefix = options_.prefix,
                              .daemon = options_.daemon,
                              .processes = endpoints_->processes(),
                              .limit_keys = limits_->keys()};
  std::vector<int> fds = {document_.get(),        LogDescriptors().front(),
                          control_socket_.get(),  endpoints_->memory().get(),
                          slabs_->memory().get(), limits_->memory().get()};
  if (metrics_.is_open()) fds.push_back(metrics_.fd(0));
  controller_.Send(MessageType::kStartController, start.Pack(), fds);
}

void Master::SendListener(ChildProcess& worker, const ListenerSockets& sockets) {
  const std::array<int, 1> fds = {sockets.fd(worker.index())};
  worker.Send(
      MessageType::kListen,
      MessageWriter().Text(sockets.bound().ToString()).Text(sockets.settings().configured).Take(),
      fds);
}

std::vector<int> Master::LogDescriptors() const {
  std::vector<int> fds = {state_ == State::kStarting ? STDERR_FILENO : logs_.error.get()};
  if (logs_.access) fds.push_back(logs_.access.get());
  return fds;
}

void Master::OnChildMessage(ChildProcess& child, IpcMessage message) {
  const Status handled = child.role() == Role::kController ? OnControllerMessage(message)
                                                           : OnWorkerMessage(child, message);
  if (!handled.has_value()) child.Kill(handled.error().detail);
}

Status Master::OnWorkerMessage(ChildProcess& worker, const IpcMessage& message) {
  MessageReader reader(message.payload);
  const auto type = static_cast<MessageType>(message.type);
  if (type == MessageType::kReady) {
    SLUICE_TRY(reader.Finish("ready"));
    OnReady(worker);
    return {};
  }
  const uint64_t revision = reader.Number();
  if (type == MessageType::kPrepared) {
    SLUICE_TRY(reader.Finish("prepared"));
    rollout_.OnPrepared(worker, revision);
  } else if (type == MessageType::kCommitted) {
    SLUICE_TRY(reader.Finish("committed"));
    rollout_.OnCommitted(worker, revision);
  } else if (type == MessageType::kRefused) {
    const std::string text = reader.Text();
    SLUICE_TRY(reader.Finish("refused"));
    rollout_.OnRefused(worker, revision, text);
  } else {
    return GatewayError(ErrorCode::kInternal,
                        "message type " + std::to_string(message.type) + " is not a worker's");
  }
  return {};
}

void Master::OnReady(ChildProcess& child) {
  child.set_ready();
  if (state_ != State::kStarting) {
    if (state_ == State::kServing) {
      Log(LogLevel::kInfo, "back", {{"name", child.name()}, {"pid", child.pid()}});
      notifier_.Status(StatusLine());
    }
    return;
  }
  bool all = true;
  ForEachChild([&](const ChildProcess& each) { all = all && each.is_ready(); });
  if (all) OnAllReady();
}

void Master::OnAllReady() {
  state_ = State::kServing;
  // Errors of the start went to the terminal, where somebody waits for them; from now on to the
  // log.
  InstallLogs(std::move(logs_));
  for (const ListenerSockets& listener : listeners_) {
    Log(LogLevel::kInfo, "listening", {{"address", listener.bound().ToString()}});
  }
  if (metrics_.is_open()) {
    Log(LogLevel::kInfo, "serving metrics", {{"address", metrics_.bound().ToString()}});
  }
  Log(LogLevel::kInfo, "serving", {{"version", SLUICE_VERSION}, {"workers", workers_.size()}});
  notifier_.Ready(StatusLine());
  if (const auto interval = notifier_.watchdog_interval()) {
    watchdog_timer_.StartRepeating(*interval, [this] { notifier_.Watchdog(); });
  }
  if (ready_pipe_) {
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    dup2(null.get(), STDIN_FILENO);
    dup2(null.get(), STDOUT_FILENO);
    dup2(logs_.error.get(), STDERR_FILENO);
    [[maybe_unused]] const ssize_t told = write(ready_pipe_.get(), "1", 1);
    ready_pipe_.Reset();
  }
}

void Master::OnChildDied(ChildProcess& child, const std::string& how) {
  const bool is_worker = child.role() == Role::kWorker;
  const uint32_t column =
      is_worker ? static_cast<uint32_t>(child.index()) : endpoints_->processes() - 1;
  endpoints_->ClearColumn(column);
  slabs_->OnDied(column);
  if (is_worker) {
    limits_->ClearLedger(static_cast<uint32_t>(child.index()));
    rollout_.OnDied(child);
  } else if (!rollout_.is_idle() || change_.has_value()) {
    rollout_.Abort();
    DropChange();
  }
  if (state_ == State::kStopping) return EndIfNobodyIsLeft();
  if (state_ == State::kStarting) {
    return FailStart(child.name() + " died during the start: " + how);
  }
  ProcessCounters& counters = slabs_->own();
  (is_worker ? counters.worker_deaths : counters.controller_deaths).Add();
  RestartLater(child, "a process died", how);
  notifier_.Status(StatusLine());
}

void Master::RestartLater(ChildProcess& child, std::string_view what, std::string_view why) {
  const Duration delay = child.restart_policy().OnDied(MonoNow());
  Log(LogLevel::kError, what,
      {{"name", child.name()}, {"reason", why}, {"restart_in_ms", delay / milliseconds(1)}});
  if (delay > Duration::zero()) {
    Log(LogLevel::kError, "it keeps dying: starting it again later",
        {{"name", child.name()}, {"seconds", delay / seconds(1)}});
    if (child.role() == Role::kWorker && workers_.size() > 1) {
      // Its share of new connections goes to the others meanwhile.
      for (ListenerSockets& listener : listeners_) listener.CloseSlot(child.index());
    }
  }
  child.StartLater(delay, [this, &child] { Restart(child); });
}

void Master::Restart(ChildProcess& child) {
  if (state_ == State::kStopping) return;
  const Status started = StartChild(child);
  if (started.has_value()) return;
  RestartLater(child, "cannot start a process", started.error().detail);
}

void Master::FailStart(const std::string& why) {
  Log(LogLevel::kError, "cannot start", {{"reason", why}});
  exit_code_ = kExitFailed;
  state_ = State::kStopping;
  StopNow();
  EndIfNobodyIsLeft();
}

// The end

void Master::OnTerminate() {
  if (std::exchange(terminated_once_, true)) return StopNow();
  Stop(settings_.shutdown);
}

void Master::Stop(std::optional<Duration> limit) {
  if (state_ != State::kStopping) {
    state_ = State::kStopping;
    Log(LogLevel::kInfo, "draining");
    notifier_.Stopping();
    rollout_.Abort();
    DropChange();
    // The workers accept what is queued and close their copies; without ours nobody waits in vain.
    ForEachChild([](ChildProcess& child) { child.Send(MessageType::kQuit); });
    for (ListenerSockets& listener : listeners_) listener.Remove();
  }
  if (limit.has_value()) {
    stop_timer_.Start(*limit, [this] {
      Log(LogLevel::kWarn, "the time to drain is over");
      StopNow();
    });
  }
  EndIfNobodyIsLeft();
}

void Master::StopNow() {
  Log(LogLevel::kInfo, "ending at once");
  ForEachChild([](ChildProcess& child) { child.Send(MessageType::kQuitNow); });
  stop_timer_.Start(kKillDelay, [this] { KillAll(); });
}

void Master::KillAll() {
  ForEachChild([](ChildProcess& child) { child.Kill("it did not end when told"); });
}

void Master::EndIfNobodyIsLeft() {
  bool any = false;
  ForEachChild([&](const ChildProcess& child) { any = any || child.is_running(); });
  if (!any) loop_.Stop();
}

std::string Master::StatusLine() const {
  size_t ready = 0;
  for (const auto& worker : workers_) ready += worker->is_ready() ? 1 : 0;
  return "serving revision " + std::to_string(revision_) + ", " + std::to_string(ready) + " of " +
         std::to_string(workers_.size()) + " workers";
}

namespace {

// The process that goes on detached gets the writing end; the one that was called waits at the
// other and ends with what it hears. None: an error was printed.
struct Detached {
  UniqueFd ready_pipe;
  std::optional<int> exit_code;  // set in the process that was called
};

Detached Detach() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    PrintError(SystemError("pipe", errno).detail + "\n");
    return {{}, kExitFailed};
  }
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) {
    PrintError(SystemError("fork", errno).detail + "\n");
    return {{}, kExitFailed};
  }
  if (pid == 0) {
    setsid();
    return {std::move(writing), std::nullopt};
  }
  writing.Reset();
  char byte = 0;
  ssize_t count = 0;
  do {
    count = read(reading.get(), &byte, 1);
  } while (count < 0 && errno == EINTR);
  return {{}, count == 1 ? kExitOk : kExitFailed};
}

// The configuration, or none after its diagnostics were printed. Rehearsed here too, so that a bad
// one ends the start and not every worker.
std::shared_ptr<const conf::Config> LoadForStart(const std::string& path) {
  conf::Diagnostics diagnostics;
  auto config = conf::LoadFile(path, diagnostics);
  if (config != nullptr && Snapshot::Make(config, 1, diagnostics) != nullptr &&
      TlsResources::Make(*config, nullptr, nullptr, diagnostics) != nullptr) {
    return config;
  }
  PrintError(diagnostics.ToText());
  return nullptr;
}

}  // namespace

int RunMaster(const Options& options) {
  SetLogRole("master");
  auto config = LoadForStart(options.config);
  if (config == nullptr) return kExitFailed;
  UniqueFd ready_pipe;
  if (options.daemon) {
    Detached detached = Detach();
    if (detached.exit_code.has_value()) return *detached.exit_code;
    ready_pipe = std::move(detached.ready_pipe);
  }
  auto loop = Loop::Make();
  if (!loop.has_value()) {
    PrintError(loop.error().detail + "\n");
    return kExitFailed;
  }
  Master master(**loop, options, std::move(ready_pipe));
  const Status started = master.Start(*config);
  config.reset();
  if (!started.has_value()) {
    PrintError("sluice: cannot start: " + started.error().detail + "\n");
    return kExitFailed;
  }
  return master.Run();
}

}  // namespace sluice
