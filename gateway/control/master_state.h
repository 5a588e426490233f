// Master, as its two files see it: master.cc (start, signals, deaths, end) and master_reload.cc
// (what a new revision changes in sockets and logs). Lives in RunMaster.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/control/child_process.h"
#include "gateway/control/listener_sockets.h"
#include "gateway/control/log_files.h"
#include "gateway/control/options.h"
#include "gateway/control/pid_file.h"
#include "gateway/control/process_settings.h"
#include "gateway/control/rollout.h"
#include "gateway/control/service_notify.h"
#include "gateway/net/loop.h"
#include "gateway/net/ticket_keys.h"
#include "gateway/net/watchers.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/plugin/shared_limits.h"
#include "gateway/proxy/endpoint_table.h"

namespace sluice {

class Master final : public ChildProcess::Observer {
 public:
  Master(Loop& loop, const Options& options, UniqueFd ready_pipe);
  ~Master();
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  // Everything up to running processes; the error says why the gateway cannot start.
  Status Start(const conf::Config& config);
  // Until the gateway has ended; the exit code.
  int Run();

  // ChildProcess::Observer
  void OnChildMessage(ChildProcess& child, IpcMessage message) override;
  void OnChildDied(ChildProcess& child, const std::string& how) override;

 private:
  enum class State : uint8_t { kStarting, kServing, kStopping };

  // What a prepared revision will change here.
  struct Change {
    uint64_t revision = 0;
    UniqueFd document;
    ProcessSettings settings;
    std::vector<ListenerSockets> added;
    std::optional<LogFiles> logs;
    std::optional<ListenerSockets> metrics;  // the address changes; its settings may be empty: off
  };

  Status MakeFiles();
  Status MakeSockets();
  void RaiseLimits();
  void WatchSignals();
  void RotateTicketKeys();

  Status StartChild(ChildProcess& child);
  void IntroduceWorker(ChildProcess& worker);
  void IntroduceController();
  // Says what happened to it, and when it will be tried again.
  void RestartLater(ChildProcess& child, std::string_view what, std::string_view why);
  void Restart(ChildProcess& child);
  void SendListener(ChildProcess& worker, const ListenerSockets& sockets);
  std::vector<int> LogDescriptors() const;

  Status OnWorkerMessage(ChildProcess& worker, const IpcMessage& message);
  Status OnControllerMessage(IpcMessage& message);
  void OnReady(ChildProcess& child);
  void OnAllReady();
  void FailStart(const std::string& why);

  Status OnPrepare(IpcMessage& message);
  Result<Change> PlanChange(IpcMessage& message);
  Result<std::vector<ListenerSockets>> OpenAdded(const ProcessSettings& settings);
  static Result<ListenerSockets> OpenMetrics(const std::string& address);
  void ApplyMetrics(ListenerSockets metrics);
  void DropChange();
  void RefuseChange(uint64_t revision, const Rollout::Refusal& refusal);
  Status OnCommit(uint64_t revision);
  void ApplyListeners(Change& change);
  void ReopenLogs();
  void InstallLogs(LogFiles logs);

  void OnTerminate();
  void Stop(std::optional<Duration> limit);
  void StopNow();
  void KillAll();
  void EndIfNobodyIsLeft();
  std::string StatusLine() const;

  template <typename Action>
  void ForEachChild(Action action) {
    for (const auto& worker : workers_) action(*worker);
    action(controller_);
  }

  Loop& loop_;
  const Options options_;
  UniqueFd ready_pipe_;  // daemon: a byte tells the waiting process that we serve
  ServiceNotifier notifier_;
  State state_ = State::kStarting;
  int exit_code_ = kExitOk;
  bool terminated_once_ = false;

  ProcessSettings settings_;
  Account account_;
  uint64_t revision_ = 1;       // committed
  uint64_t last_revision_ = 1;  // ever used
  UniqueFd document_;           // of the committed revision
  std::unique_ptr<PidFile> pid_file_;
  LogFiles logs_;
  UniqueFd control_socket_;
  std::vector<ListenerSockets> listeners_;
  ListenerSockets metrics_;  // with no settings: off
  std::shared_ptr<TicketKeys> ticket_keys_;
  std::shared_ptr<EndpointTable> endpoints_;
  std::shared_ptr<SharedLimits> limits_;
  std::shared_ptr<MetricSlabs> slabs_;

  std::vector<std::unique_ptr<ChildProcess>> workers_;
  ChildProcess controller_;
  Rollout rollout_;
  std::optional<Change> change_;

  std::vector<std::unique_ptr<SignalWatcher>> signals_;
  Timer stop_timer_;
  Timer watchdog_timer_;
  Timer ticket_timer_;
};

}  // namespace sluice
