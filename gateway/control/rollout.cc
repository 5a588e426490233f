#include "gateway/control/rollout.h"

#include <array>
#include <utility>

namespace sluice {

Rollout::Rollout(Loop& loop, std::vector<std::unique_ptr<ChildProcess>>& workers, Observer observer)
    : workers_(workers), observer_(std::move(observer)), timer_(loop) {}

void Rollout::SendPrepare(ChildProcess& worker) {
  const std::array<int, 1> fds = {document_};
  worker.Send(MessageType::kPrepare, MessageWriter().Number(revision_).Take(), fds);
  waiting_.insert(worker.index());
}

void Rollout::Prepare(uint64_t revision, int document) {
  SLUICE_CHECK(is_idle());
  phase_ = Phase::kPreparing;
  revision_ = revision;
  document_ = document;
  waiting_.clear();
  for (const auto& worker : workers_) {
    if (worker->is_running()) SendPrepare(*worker);
  }
  timer_.Start(kPatience, [this] { OnSilence(); });
  if (waiting_.empty()) Refuse({true, "no worker is running"});
}

void Rollout::Commit() {
  SLUICE_CHECK(phase_ == Phase::kPrepared);
  phase_ = Phase::kCommitting;
  for (const auto& worker : workers_) {
    if (!worker->is_running()) continue;
    worker->Send(MessageType::kCommit, MessageWriter().Number(revision_).Take());
    waiting_.insert(worker->index());
  }
  timer_.Start(kPatience, [this] { OnSilence(); });
}

void Rollout::Abort() {
  if (is_idle()) return;
  timer_.Stop();
  const bool undo = phase_ != Phase::kCommitting;
  phase_ = Phase::kIdle;
  waiting_.clear();
  if (!undo) return;
  for (const auto& worker : workers_) {
    if (worker->is_running()) {
      worker->Send(MessageType::kAbort, MessageWriter().Number(revision_).Take());
    }
  }
}

void Rollout::Refuse(const Refusal& refusal) {
  Abort();
  observer_.on_refused(revision_, refusal);
}

void Rollout::OnPrepared(const ChildProcess& worker, uint64_t revision) {
  if (phase_ == Phase::kPreparing && revision == revision_) OnAnswered(worker);
}

void Rollout::OnRefused(const ChildProcess& worker, uint64_t revision, const std::string& text) {
  if (phase_ != Phase::kPreparing || revision != revision_) return;
  Refuse({false, worker.name() + ": " + text});
}

void Rollout::OnCommitted(const ChildProcess& worker, uint64_t revision) {
  if (phase_ == Phase::kCommitting && revision == revision_) OnAnswered(worker);
}

void Rollout::OnAnswered(const ChildProcess& worker) {
  waiting_.erase(worker.index());
  if (!waiting_.empty()) return;
  timer_.Stop();
  if (phase_ == Phase::kPreparing) {
    phase_ = Phase::kPrepared;
    observer_.on_prepared(revision_);
  } else {
    phase_ = Phase::kIdle;
    observer_.on_committed(revision_);
  }
}

void Rollout::OnDied(const ChildProcess& worker) {
  if (!waiting_.contains(worker.index())) return;
  if (phase_ == Phase::kPreparing) {
    // Perhaps by what it was given: the old revision is the safe one.
    Refuse({true, worker.name() + " died while it prepared the revision"});
  } else if (phase_ == Phase::kCommitting) {
    OnAnswered(worker);  // it comes back with the committed revision
  }
}

void Rollout::OnStarted(ChildProcess& worker) {
  if (phase_ != Phase::kPreparing && phase_ != Phase::kPrepared) return;
  SendPrepare(worker);
  if (phase_ == Phase::kPrepared) waiting_.erase(worker.index());  // its commit will wait for it
}

void Rollout::OnSilence() {
  std::string names;
  for (const int index : waiting_) {
    ChildProcess& worker = *workers_[static_cast<size_t>(index)];
    if (!names.empty()) names += ", ";
    names += worker.name();
    worker.Kill("no answer within " + std::to_string(kPatience / seconds(1)) + " s");
  }
  if (phase_ == Phase::kCommitting) {
    phase_ = Phase::kIdle;  // they come back with the committed revision
    waiting_.clear();
    observer_.on_committed(revision_);
  } else if (phase_ == Phase::kPreparing) {
    Refuse({true, "no answer from " + names});
  }
}

}  // namespace sluice
