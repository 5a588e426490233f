#include "gateway/proxy/call_permit.h"

#include <utility>

#include "gateway/base/log.h"
#include "gateway/proxy/grpc.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

using balancer::BreakerChange;
using balancer::CallOutcome;

bool BreakerTicket::Admit(const balancer::Breaker& breaker, balancer::BreakerState& state,
                          MonoTime now, uint64_t random) {
  pass_ = breaker.Admit(state, now, random);
  if (pass_.kind == balancer::BreakerPass::Kind::kRefused) return false;
  breaker_ = &breaker;
  state_ = &state;
  return true;
}

BreakerChange BreakerTicket::Report(CallOutcome outcome, Duration latency, MonoTime now) {
  if (!is_out()) return BreakerChange::kNone;
  return std::exchange(breaker_, nullptr)->Report(*state_, pass_, outcome, latency, now);
}

void CallPermit::Begin(Admission& admission, std::string_view upstream) {
  admission_ = &admission;
  name_ = upstream;
  call_started_ = {};
  retry_after_ = {};
}

bool CallPermit::PassUpstream(MonoTime now) {
  const balancer::Breaker* breaker = admission_->upstream_breaker();
  if (breaker == nullptr) return true;
  if (upstream_.Admit(*breaker, admission_->shared()->breaker, now, admission_->NextRandom())) {
    return true;
  }
  retry_after_ = upstream_.retry_after();
  return false;
}

bool CallPermit::PassEndpoint(Endpoint& endpoint, MonoTime now) {
  const balancer::Breaker* breaker = admission_->endpoint_breaker();
  if (breaker == nullptr) return true;
  at_ = &endpoint;
  if (endpoint_.Admit(*breaker, endpoint.shared->breaker, now, admission_->NextRandom())) {
    return true;
  }
  retry_after_ = endpoint_.retry_after();
  return false;
}

bool CallPermit::TakeRequest(bool waited) {
  if (holds_request_ || admission_->limits().requests == 0) return true;
  holds_request_ = admission_->TryTake(Counter::kActive, waited);
  return holds_request_;
}

bool CallPermit::TakeRetry(uint32_t most) {
  FreeRetry();
  holds_retry_ = admission_->shared().TryAdd(Counter::kRetries, most);
  return holds_retry_;
}

void CallPermit::FreeRetry() {
  if (std::exchange(holds_retry_, false)) admission_->shared().Remove(Counter::kRetries);
}

void CallPermit::OnAttempt(MonoTime now) {
  attempt_started_ = now;
  if (call_started_ == MonoTime()) call_started_ = now;
  head_came_ = {};
  head_says_ = CallOutcome::kIgnored;
}

void CallPermit::OnAttemptHead(int status, const HeaderList& fields, MonoTime now) {
  if (!endpoint_.is_out() && !upstream_.is_out()) return;
  head_came_ = now;
  head_says_ = OutcomeOf(status, fields);
  if (head_says_ == CallOutcome::kBad || endpoint_.is_probe()) ReportEndpoint(head_says_, now);
}

void CallPermit::OnAttemptAnswered(MonoTime now) { ReportEndpoint(head_says_, now); }

void CallPermit::OnCallHead(MonoTime now) {
  if (head_says_ == CallOutcome::kBad || upstream_.is_probe()) ReportUpstream(head_says_, now);
}

void CallPermit::OnAttemptFailed(const Error& error, MonoTime now) {
  const bool bad = error.side == ErrorSide::kUpstream;
  ReportEndpoint(bad ? CallOutcome::kBad : CallOutcome::kIgnored, now);
}

void CallPermit::OnCallFailed(const Error& error, MonoTime now) {
  const bool bad = error.side == ErrorSide::kUpstream;
  ReportUpstream(bad ? CallOutcome::kBad : CallOutcome::kIgnored, now);
}

void CallPermit::OnEnd(const HeaderList& trailers, MonoTime now) {
  if (endpoint_.is_out() || upstream_.is_out()) {
    const CallOutcome outcome = OutcomeOf(200, trailers);
    ReportEndpoint(outcome, now);
    ReportUpstream(outcome, now);
  }
  Return(now);
}

void CallPermit::Return(MonoTime now) {
  ReportEndpoint(CallOutcome::kIgnored, now);
  ReportUpstream(CallOutcome::kIgnored, now);
  FreeRetry();
  if (std::exchange(holds_request_, false)) admission_->Free(Counter::kActive);
}

CallOutcome CallPermit::OutcomeOf(int status, const HeaderList& fields) const {
  return balancer::OutcomeOfStatus(OutcomeStatus(status, fields), admission_->counts_429());
}

void CallPermit::ReportEndpoint(CallOutcome outcome, MonoTime now) {
  if (!endpoint_.is_out()) return;
  const MonoTime end = head_came_ == MonoTime() ? now : head_came_;
  Say(endpoint_.Report(outcome, end - attempt_started_, now), at_->name);
}

void CallPermit::ReportUpstream(CallOutcome outcome, MonoTime now) {
  if (!upstream_.is_out()) return;
  const MonoTime end = head_came_ == MonoTime() ? now : head_came_;
  Say(upstream_.Report(outcome, end - call_started_, now), {});
}

// Once for the whole host: only one worker is told.
void CallPermit::Say(BreakerChange change, std::string_view node) const {
  if (change == BreakerChange::kNone) return;
  const bool closed = change == BreakerChange::kClosed;
  const std::string_view text = closed                               ? "circuit closed"
                                : change == BreakerChange::kReopened ? "circuit opened again"
                                                                     : "circuit opened";
  Log(closed ? LogLevel::kInfo : LogLevel::kWarn, text, {{"upstream", name_}, {"node", node}});
}

}  // namespace sluice
