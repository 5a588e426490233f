// The part of UpstreamCall that deals with attempts that failed.
#include <algorithm>
#include <utility>

#include "balancer/retry.h"
#include "gateway/base/log.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/upstream_call.h"

namespace sluice {

void UpstreamCall::OnAttemptFailed(const Error& error, bool stale) {
  // That a kept connection was given up says nothing against the endpoint.
  if (!stale || error.retry == Retry::kNever) {
    Report({.error = error.code});
    const MonoTime now = MonoNow();
    if (!response_started_) {
      upstream_->ObserveFailure(*tried_.back(), now - attempt_started_, now);
    }
  }
  Log(LogLevel::kDebug, "attempt failed",
      {{"reason", ReasonName(error.code)}, {"detail", error.detail}, {"attempt", attempts_}});
  if (!response_started_ && TryAgain(ConditionOf(error), &error, stale)) return;
  GiveUp(error);
}

bool UpstreamCall::TryAgain(RetryCondition condition, const Error* error, bool stale) {
  const conf::RetryConfig& rules = config_->retry;
  const MonoTime now = context_.loop.now();
  const balancer::BackOff back_off{rules.backoff_base, rules.backoff_max};
  Duration delay = back_off.Delay(retries_ + 1, upstream_->admission().NextRandom());
  const AttemptFacts facts{.method = exchange_.upstream_method(),
                           .body_replayable = replayable_,
                           .stale_connection = stale,
                           .stale_retried = stale_retried_,
                           .retries_left = retries_left_,
                           .elapsed = now - started_ + delay,
                           .retry_timeout = config_->retry_timeout};
  const RetryDecision decision = DecideRetry(condition, facts, rules);
  if (decision == RetryDecision::kGiveUp) return false;
  if (decision == RetryDecision::kFreshConnection) {
    stale_retried_ = true;
    next_ = tried_.back();
    delay = {};
  } else {
    if (!TakeRetry(condition)) return false;
    error != nullptr ? permit_.OnAttemptFailed(*error, now) : permit_.OnAttemptAnswered(now);
    next_ = PickAgain();
    if (next_ == nullptr) {
      permit_.FreeRetry();
      return false;
    }
    ++retries_;
    --retries_left_;
  }
  if (condition == RetryCondition::kStatus) Report({.status = status_});
  StopWaiting();
  DropAttempt();
  if (delay > Duration::zero()) {
    wait_ = Wait::kBackOff;
    if (back_off_ == nullptr) back_off_ = std::make_unique<Timer>(context_.loop);
    back_off_->Start(delay, [this] { OnDeadline(); });
    return true;
  }
  AttemptOn(std::exchange(next_, nullptr), decision == RetryDecision::kFreshConnection);
  return true;
}

// The budget and the limit of retries are of the whole host.
bool UpstreamCall::TakeRetry(RetryCondition condition) {
  const conf::RetryConfig& rules = config_->retry;
  const uint32_t limit = config_->limits.retries > 0 ? config_->limits.retries : UINT32_MAX;
  // A request that reached nobody is no additional work for the upstream when it goes elsewhere:
  // a dead node costs nobody a request, however many go to it first.
  const bool budgeted = condition != RetryCondition::kConnectFailure;
  if (!budgeted && config_->limits.retries == 0) {
    permit_.FreeRetry();
    return true;
  }
  uint64_t most = limit;
  if (budgeted) {
    const balancer::RetryBudget budget{rules.budget_percent, rules.budget_floor};
    const uint64_t active = upstream_->CountActive() + (occupied_ == nullptr ? 1 : 0);
    most = std::min(most, budget.Most(active));
  }
  if (permit_.TakeRetry(static_cast<uint32_t>(most))) return true;
  if (most < limit && upstream_->admission().SpendSavedRetry() && permit_.TakeRetry(limit)) {
    return true;
  }
  Log(LogLevel::kDebug, "no retry: too many are under way",
      {{"upstream", config_->key}, {"most", most}});
  return false;
}

// Whatever the attempt still does is nobody's business any more.
void UpstreamCall::DropAttempt() {
  connected_ = false;
  Occupy(nullptr);
  if (channel_ != nullptr) std::exchange(channel_, nullptr)->Abort();
}

void UpstreamCall::GiveUp(const Error& error) {
  const MonoTime now = context_.loop.now();
  StopWaiting();
  permit_.OnAttemptFailed(error, now);
  permit_.OnCallFailed(error, now);
  permit_.Return(now);
  DropAttempt();
  exchange_.OnCallFailed(error);
}

void UpstreamCall::Fail(const Error& error) {
  if (channel_ != nullptr) {
    Report({.error = error.code});
  } else {
    permit_.Return(context_.loop.now());  // it was not the upstream's turn
  }
  GiveUp(error);
}

// When all were tried the next round begins, but only where retries wait: an endpoint that has just
// failed is not asked again at once.
std::shared_ptr<Endpoint> UpstreamCall::PickAgain() {
  std::shared_ptr<Endpoint> endpoint = Pick(tried_);
  if (endpoint != nullptr || config_->retry.backoff_base == Duration::zero()) return endpoint;
  tried_.erase(tried_.begin(), tried_.end() - 1);
  endpoint = Pick(tried_);
  if (endpoint != nullptr) return endpoint;
  Endpoints none;
  return Pick(none);
}

}  // namespace sluice
