#include "gateway/proxy/admission.h"

#include <algorithm>
#include <utility>

#include "balancer/random.h"

namespace sluice {
namespace {

balancer::BreakerConfig BreakerConfigOf(const conf::CircuitBreakerConfig& config) {
  const auto rounded = [](Duration time) { return std::chrono::ceil<milliseconds>(time); };
  return {.consecutive_failures = config.consecutive_failures,
          .failure_percentage = config.failure_percentage,
          .slow_percentage = config.slow_percentage,
          .slow_call = rounded(config.slow_call),
          .minimum_requests = config.minimum_requests,
          .open_time = rounded(config.open_time),
          .max_open_time = rounded(config.max_open_time),
          .probes = config.probes,
          .probe_limit = rounded(config.probe_limit),
          .ramp = rounded(config.ramp)};
}

}  // namespace

Admission::Admission(Loop& loop, std::shared_ptr<EndpointTable> table, std::string upstream,
                     uint64_t seed)
    : loop_(loop), table_(std::move(table)), upstream_(std::move(upstream)), random_(seed) {}

void Admission::Update(const conf::UpstreamConfig& config) {
  using Scope = conf::CircuitBreakerConfig::Scope;
  const auto& breaker = config.circuit_breaker;
  for_upstream_ = breaker && breaker->scope != Scope::kEndpoint;
  for_endpoints_ = breaker && breaker->scope != Scope::kUpstream;
  counts_429_ = breaker && breaker->count_429;
  if (breaker) breaker_ = balancer::Breaker(BreakerConfigOf(*breaker));
  limits_ = config.limits;
  WakeAfter(Duration::zero());
}

HeldRecord& Admission::shared() {
  if (!shared_) shared_.emplace(table_, upstream_);
  return *shared_;
}

uint64_t Admission::NextRandom() { return balancer::NextRandom(random_); }

uint32_t Admission::LimitOf(Counter counter) const {
  return counter == Counter::kConnections ? limits_.connections : limits_.requests;
}

bool Admission::TryTake(Counter counter, bool waited) {
  const bool others_are_first = limits_.pending > 0 && !waited &&
                                (!waiters_.empty() || shared().count(Counter::kPending) > 0);
  return !others_are_first && shared().TryAdd(counter, LimitOf(counter));
}

void Admission::Free(Counter counter) {
  shared().Remove(counter);
  OnFreed();
}

void Admission::OnFreed() {
  if (waiters_.empty() || woken_) return;
  const uint32_t pending = shared().count(Counter::kPending);
  if (pending > waiting_ && balancer::ScaleTo(NextRandom(), pending) >= waiting_) return;
  woken_ = true;
  WakeAfter(Duration::zero());  // not now: the caller is in the middle of its own work
}

uint32_t Admission::most_idle() const {
  if (limits_.connections == 0) return UINT32_MAX;
  const uint32_t processes = table_ == nullptr ? 1 : table_->processes();
  return limits_.connections / std::max(processes - 1, 1U);  // all but the controller are workers
}

bool Admission::SpendSavedRetry() {
  if (saved_ < 100) return false;
  saved_ -= 100;
  return true;
}

bool Admission::Enqueue(PlaceWaiter& waiter) {
  if (!shared().TryAdd(Counter::kPending, limits_.pending)) return false;
  waiters_.PushBack(waiter);
  if (++waiting_ > 1) return true;
  if (timer_ == nullptr) timer_ = std::make_unique<Timer>(loop_);
  WakeAfter(kPollInterval);
  return true;
}

void Admission::Leave(PlaceWaiter& waiter) {
  if (!waiter.is_linked()) return;
  waiter.Unlink();
  --waiting_;
  shared().Remove(Counter::kPending);
}

void Admission::WakeAfter(Duration delay) {
  if (!waiters_.empty()) timer_->Start(delay, [this] { Wake(); });
}

void Admission::Wake() {
  woken_ = false;
  // Of an upstream that is not configured any more the last waiter is the last owner.
  const std::weak_ptr<bool> alive = alive_;
  while (PlaceWaiter* first = waiters_.front()) {
    const bool had_place = first->OnPlaceFree();
    if (alive.expired()) return;
    if (!had_place) break;
  }
  WakeAfter(kPollInterval);
}

}  // namespace sluice
