// Master's part in a roll-out: tells every worker to prepare a revision, collects the answers, and
// then tells all to commit. It knows nothing of what a revision contains. One at a time. Owned by
// master.
//
//   idle ── Prepare ──▶ preparing ── all answered ──▶ prepared ── Commit ──▶ committing ──▶ idle
//            any refusal, death or silence: abort ──▶ idle
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gateway/base/unique_fd.h"
#include "gateway/control/child_process.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"

namespace sluice {

class Rollout {
 public:
  static constexpr Duration kPatience = seconds(60);  // with a worker that does not answer

  struct Refusal {
    bool retry = false;  // nothing was wrong with the revision: a worker died or was silent
    std::string text;
  };
  struct Observer {
    std::function<void(uint64_t revision)> on_prepared;
    std::function<void(uint64_t revision, const Refusal&)> on_refused;
    std::function<void(uint64_t revision)> on_committed;
  };

  Rollout(Loop& loop, std::vector<std::unique_ptr<ChildProcess>>& workers, Observer observer);

  bool is_idle() const { return phase_ == Phase::kIdle; }
  bool is_prepared(uint64_t revision) const {
    return phase_ == Phase::kPrepared && revision_ == revision;
  }

  // Precondition: idle.
  void Prepare(uint64_t revision, int document);
  // Precondition: prepared.
  void Commit();
  // Without an answer to anybody; e.g. because the controller died.
  void Abort();

  void OnPrepared(const ChildProcess& worker, uint64_t revision);
  void OnRefused(const ChildProcess& worker, uint64_t revision, const std::string& text);
  void OnCommitted(const ChildProcess& worker, uint64_t revision);
  void OnDied(const ChildProcess& worker);
  // A worker that starts meanwhile (with the committed revision) takes part.
  void OnStarted(ChildProcess& worker);

 private:
  enum class Phase : uint8_t { kIdle, kPreparing, kPrepared, kCommitting };

  void SendPrepare(ChildProcess& worker);
  void Refuse(const Refusal& refusal);
  void OnAnswered(const ChildProcess& worker);
  void OnSilence();

  std::vector<std::unique_ptr<ChildProcess>>& workers_;
  const Observer observer_;
  Timer timer_;
  Phase phase_ = Phase::kIdle;
  uint64_t revision_ = 0;
  int document_ = -1;
  std::set<int> waiting_;  // indexes of workers that have not answered
};

}  // namespace sluice
