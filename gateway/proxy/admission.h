// What an upstream lets in, on the whole host: its circuit breaker, its limits, and the queue of
// this worker's calls that wait for a place. Part of an UpstreamState; what one call got is its
// CallPermit.
//
//   call ─► breaker ─► place of a request ─► endpoint, its breaker ─► place of a connection
//
// Places are counted in the upstream's shared record. Who finds none may wait, first in first out
// in each worker; nobody takes a place at once while somebody on the host waits. A place that
// becomes free wakes this worker's first; when calls of other workers wait too it is left to them
// as often as is their share, and they find it within kPollInterval.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "balancer/breaker.h"
#include "conf/resources.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/net/watchers.h"
#include "gateway/proxy/endpoint_table.h"

namespace sluice {

// A call that waits for a place.
class PlaceWaiter : public ListNode<PlaceWaiter> {
 public:
  // A place may be free. True: it was, and the waiter has left the queue, whose owner may be gone.
  virtual bool OnPlaceFree() = 0;

 protected:
  ~PlaceWaiter() = default;
};

class Admission {
 public:
  using Counter = EndpointTable::Counter;

  Admission(Loop& loop, std::shared_ptr<EndpointTable> table, std::string upstream, uint64_t seed);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  void Update(const conf::UpstreamConfig& config);

  // The upstream's own record; acquired when it is needed first.
  HeldRecord& shared();

  // Null: there is none. Stays the same object for as long as this lives.
  const balancer::Breaker* upstream_breaker() const { return for_upstream_ ? &breaker_ : nullptr; }
  const balancer::Breaker* endpoint_breaker() const { return for_endpoints_ ? &breaker_ : nullptr; }
  bool counts_429() const { return counts_429_; }
  uint64_t NextRandom();

  const conf::UpstreamLimits& limits() const { return limits_; }
  // kActive or kConnections. What was taken is given back by Free. `waited`: this is the first of
  // the queue. Precondition: the limit is not 0.
  bool TryTake(Counter counter, bool waited);
  void Free(Counter counter);
  void OnFreed();  // waiters find something: a free place or a kept connection
  // So many connections this worker may keep idle: what all keep leaves each of them its share.
  uint32_t most_idle() const;

  // What requests that needed no retry have saved of the budget, for a moment in which many need
  // one, as when a node dies: `percent` of a retry each, at most kMostSaved in this worker.
  void SaveRetry(uint32_t percent) { saved_ = std::min(saved_ + percent, kMostSaved * 100); }
  bool SpendSavedRetry();

  // False: too many wait.
  bool Enqueue(PlaceWaiter& waiter);
  bool has_waiters() { return !waiters_.empty(); }
  void Leave(PlaceWaiter& waiter);  // nothing if it does not wait

 private:
  // So long a free place may lie idle that another worker has left to us.
  static constexpr Duration kPollInterval = milliseconds(5);

  static constexpr uint32_t kMostSaved = 100;

  uint32_t LimitOf(Counter counter) const;
  void Wake();
  void WakeAfter(Duration delay);

  Loop& loop_;
  std::shared_ptr<EndpointTable> table_;
  std::string upstream_;
  uint64_t random_;
  std::optional<HeldRecord> shared_;
  balancer::Breaker breaker_{balancer::BreakerConfig()};
  bool for_upstream_ = false;
  bool for_endpoints_ = false;
  bool counts_429_ = false;
  bool woken_ = false;
  conf::UpstreamLimits limits_;
  IntrusiveList<PlaceWaiter> waiters_;
  uint32_t waiting_ = 0;
  uint32_t saved_ = 0;            // hundredths of a retry
  std::unique_ptr<Timer> timer_;  // made at the first wait
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace sluice
