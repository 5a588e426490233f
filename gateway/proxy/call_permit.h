// What one call got of its upstream's breakers and limits; each is given back exactly once, however
// the call ends. Part of an UpstreamCall. Costs nothing where nothing is configured.
#pragma once

#include <string_view>

#include "balancer/breaker.h"
#include "gateway/base/error.h"
#include "gateway/base/time.h"
#include "gateway/http/headers.h"
#include "gateway/proxy/admission.h"

namespace sluice {

struct Endpoint;

// One pass through a breaker.
class BreakerTicket {
 public:
  // False: refused, until about `retry_after`.
  bool Admit(const balancer::Breaker& breaker, balancer::BreakerState& state, MonoTime now,
             uint64_t random);
  // Nothing unless a pass is out. Else its end, and what that changed.
  balancer::BreakerChange Report(balancer::CallOutcome outcome, Duration latency, MonoTime now);

  bool is_out() const { return breaker_ != nullptr; }
  bool is_probe() const { return is_out() && pass_.kind == balancer::BreakerPass::Kind::kProbe; }
  Duration retry_after() const { return pass_.retry_after; }

 private:
  const balancer::Breaker* breaker_ = nullptr;
  balancer::BreakerState* state_ = nullptr;
  balancer::BreakerPass pass_;
};

class CallPermit {
 public:
  using Counter = Admission::Counter;

  // Precondition: everything is given back. `admission` outlives what is got.
  void Begin(Admission& admission, std::string_view upstream);

  // False: the upstream's breaker is open.
  bool PassUpstream(MonoTime now);
  // False: the endpoint's breaker does not let this call through. `endpoint` outlives the attempt.
  bool PassEndpoint(Endpoint& endpoint, MonoTime now);
  Duration retry_after() const { return retry_after_; }  // when a breaker said no

  // A place among the upstream's requests; `waited` as in Admission.
  bool TakeRequest(bool waited);
  // A place among its retries, of which there may be so many.
  bool TakeRetry(uint32_t most);
  void FreeRetry();

  // How it goes. An attempt's end is its endpoint's, the call's end the upstream's. What a head
  // says is reported at once if it is bad or somebody waits for it (a probe), else at the end.
  void OnAttempt(MonoTime now);
  void OnAttemptHead(int status, const HeaderList& fields, MonoTime now);
  void OnAttemptAnswered(MonoTime now);  // by that head, which is not relayed
  void OnCallHead(MonoTime now);
  void OnAttemptFailed(const Error& error, MonoTime now);
  void OnCallFailed(const Error& error, MonoTime now);
  void OnEnd(const HeaderList& trailers, MonoTime now);

  // Gives back what is still out; a breaker's pass as one that says nothing.
  void Return(MonoTime now);

 private:
  balancer::CallOutcome OutcomeOf(int status, const HeaderList& fields) const;
  void ReportEndpoint(balancer::CallOutcome outcome, MonoTime now);
  void ReportUpstream(balancer::CallOutcome outcome, MonoTime now);
  void Say(balancer::BreakerChange change, std::string_view node) const;

  Admission* admission_ = nullptr;
  bool holds_request_ = false;
  bool holds_retry_ = false;
  balancer::CallOutcome head_says_ = balancer::CallOutcome::kIgnored;
  BreakerTicket upstream_;
  BreakerTicket endpoint_;
  std::string_view name_;         // of the upstream
  const Endpoint* at_ = nullptr;  // of endpoint_
  MonoTime call_started_{};       // the first attempt
  MonoTime attempt_started_{};
  MonoTime head_came_{};  // of this attempt; zero: not yet
  Duration retry_after_{};
};

}  // namespace sluice
