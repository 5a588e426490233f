#include <algorithm>
#include <array>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/control/master_state.h"

namespace sluice {
namespace {

const ListenSettings* Find(const std::vector<ListenSettings>& list, const std::string& address) {
  const auto found = std::find_if(
      list.begin(), list.end(), [&](const ListenSettings& one) { return one.address == address; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

Status Master::OnControllerMessage(IpcMessage& message) {
  const auto type = static_cast<MessageType>(message.type);
  if (type == MessageType::kPrepare) return OnPrepare(message);
  MessageReader reader(message.payload);
  const uint64_t revision = type == MessageType::kCommit ? reader.Number() : 0;
  const std::string text = type == MessageType::kReloaded ? reader.Text() : std::string();
  SLUICE_TRY(reader.Finish("message of the controller"));
  const bool serving = state_ == State::kServing;
  if (type == MessageType::kCommit) return OnCommit(revision);
  if (type == MessageType::kReady) {
    OnReady(controller_);
  } else if (type == MessageType::kReloading) {
    if (serving) notifier_.Reloading();
  } else if (type == MessageType::kReloaded) {
    if (serving) notifier_.Ready(StatusLine() + text);
  } else {
    return GatewayError(ErrorCode::kInternal, "message type " + std::to_string(message.type) +
                                                  " is not the controller's");
  }
  return {};
}

Status Master::OnPrepare(IpcMessage& message) {
  if (!rollout_.is_idle() || change_.has_value()) {
    return GatewayError(ErrorCode::kInternal, "a second roll-out during the first");
  }
  MessageReader reader(message.payload);
  const uint64_t revision = reader.Number();
  if (state_ != State::kServing) {
    RefuseChange(revision, {state_ == State::kStarting, "the gateway is not serving"});
    return {};
  }
  auto change = PlanChange(message);
  if (!change.has_value()) {
    RefuseChange(revision, {false, change.error().detail});
    return {};
  }
  last_revision_ = std::max(last_revision_, revision);
  change_ = std::move(*change);
  rollout_.Prepare(revision, change_->document.get());
  return {};
}

// Everything that may fail is done here, before any worker is asked.
Result<Master::Change> Master::PlanChange(IpcMessage& message) {
  MessageReader reader(message.payload);
  Change change;
  change.revision = reader.Number();
  const std::string packed = reader.Text();
  SLUICE_TRY(reader.Finish("prepare"));
  if (message.fds.size() != 1) {
    return GatewayError(ErrorCode::kInternal,
                        "a prepare brings one document, but this one brought " +
                            std::to_string(message.fds.size()));
  }
  if (change.revision <= revision_) {
    return GatewayError(ErrorCode::kInternal, "revision " + std::to_string(change.revision) +
                                                  " is not above " + std::to_string(revision_));
  }
  change.document = std::move(message.fds.front());
  SLUICE_ASSIGN_OR_RETURN(change.settings, ProcessSettings::Unpack(packed));
  SLUICE_ASSIGN_OR_RETURN(change.added, OpenAdded(change.settings));
  if (change.settings.access_log != settings_.access_log ||
      change.settings.error_log != settings_.error_log) {
    SLUICE_ASSIGN_OR_RETURN(change.logs, LogFiles::Open(change.settings));
  }
  if (change.settings.metrics != settings_.metrics) {
    SLUICE_ASSIGN_OR_RETURN(change.metrics, OpenMetrics(change.settings.metrics));
  }
  return change;
}

Result<std::vector<ListenerSockets>> Master::OpenAdded(const ProcessSettings& settings) {
  std::vector<ListenerSockets> added;
  const auto holds_port = [&](const ListenSettings& wanted) {
    const auto address = SocketAddress::Make(wanted.address);
    if (!address.has_value() || address->is_unix()) return false;
    const auto same = [&](const ListenerSockets& one) {
      return !one.bound().is_unix() && one.bound().port() == address->port();
    };
    return std::any_of(listeners_.begin(), listeners_.end(), same) ||
           std::any_of(added.begin(), added.end(), same);
  };
  for (const ListenSettings& wanted : settings.listen) {
    const bool kept = std::any_of(
        listeners_.begin(), listeners_.end(),
        [&](const ListenerSockets& one) { return one.settings().address == wanted.address; });
    if (kept) continue;
    auto made =
        ListenerSockets::Make(wanted, static_cast<int>(workers_.size()), holds_port(wanted));
    if (!made.has_value()) {
      for (ListenerSockets& one : added) one.Remove();
      return std::move(made).error();
    }
    added.push_back(std::move(*made));
  }
  return added;
}

Result<ListenerSockets> Master::OpenMetrics(const std::string& address) {
  constexpr int kBacklog = 64;
  if (address.empty()) return ListenerSockets();
  auto sockets = ListenerSockets::Make({address, kBacklog, address}, 1, false);
  if (sockets.has_value()) return sockets;
  Error error = std::move(sockets).error();
  error.detail.insert(0, "gateway.metrics: ");
  return error;
}

void Master::ApplyMetrics(ListenerSockets metrics) {
  metrics_.Remove();
  metrics_ = std::move(metrics);
  std::vector<int> fds;
  if (metrics_.is_open()) fds.push_back(metrics_.fd(0));
  controller_.Send(MessageType::kMetrics, {}, fds);
  Log(LogLevel::kInfo, metrics_.is_open() ? "serving metrics" : "serves no metrics",
      {{"address", metrics_.bound().ToString()}});
}

void Master::DropChange() {
  if (!change_.has_value()) return;
  if (change_->metrics.has_value()) change_->metrics->Remove();
  for (ListenerSockets& added : change_->added) added.Remove();
  change_.reset();
}

void Master::RefuseChange(uint64_t revision, const Rollout::Refusal& refusal) {
  DropChange();
  controller_.Send(
      MessageType::kRefused,
      MessageWriter().Number(revision).Number(refusal.retry ? 1 : 0).Text(refusal.text).Take());
}

Status Master::OnCommit(uint64_t revision) {
  if (!change_.has_value() || !rollout_.is_prepared(revision)) {
    return GatewayError(ErrorCode::kInternal, "commit of revision " + std::to_string(revision) +
                                                  ", which nobody prepared");
  }
  Change change = std::move(*change_);
  change_.reset();
  revision_ = revision;
  document_ = std::move(change.document);
  rollout_.Commit();
  ApplyListeners(change);
  const bool more_files = change.settings.worker_connections > settings_.worker_connections;
  const bool other_rotation = change.settings.ticket_rotation != settings_.ticket_rotation;
  settings_ = std::move(change.settings);
  SetLogLevel(settings_.log_level);
  if (change.metrics.has_value()) ApplyMetrics(std::move(*change.metrics));
  if (more_files) RaiseLimits();
  if (other_rotation) RotateTicketKeys();
  if (change.logs.has_value()) InstallLogs(std::move(*change.logs));
  return {};
}

void Master::ApplyListeners(Change& change) {
  for (auto listener = listeners_.begin(); listener != listeners_.end();) {
    const ListenSettings* kept = Find(change.settings.listen, listener->settings().address);
    if (kept != nullptr) {
      const Status set = listener->SetBacklog(kept->backlog);
      if (!set.has_value()) Log(LogLevel::kError, set.error().detail);
      ++listener;
      continue;
    }
    const std::string address = listener->bound().ToString();
    for (const auto& worker : workers_) {
      worker->Send(MessageType::kUnlisten, MessageWriter().Text(address).Take());
    }
    listener->Remove();
    listener = listeners_.erase(listener);
    Log(LogLevel::kInfo, "listens no more", {{"address", address}});
  }
  for (ListenerSockets& added : change.added) {
    for (const auto& worker : workers_) {
      if (worker->is_running()) SendListener(*worker, added);
    }
    Log(LogLevel::kInfo, "listening", {{"address", added.bound().ToString()}});
    listeners_.push_back(std::move(added));
  }
}

void Master::ReopenLogs() {
  auto logs = LogFiles::Open(settings_);
  if (!logs.has_value()) {
    Log(LogLevel::kError, "the logs stay as they are", {{"reason", logs.error().detail}});
    return;
  }
  InstallLogs(std::move(*logs));
  Log(LogLevel::kInfo, "logs reopened");
}

void Master::InstallLogs(LogFiles logs) {
  logs_ = std::move(logs);
  const Status installed = InstallErrorLog(logs_.error);
  if (!installed.has_value()) {
    Log(LogLevel::kError, "the error log stays as it is", {{"reason", installed.error().detail}});
  }
  const std::vector<int> fds = LogDescriptors();
  for (const auto& worker : workers_) worker->Send(MessageType::kLogs, {}, fds);
  controller_.Send(MessageType::kLogs, {}, std::array<int, 1>{logs_.error.get()});
}

}  // namespace sluice
