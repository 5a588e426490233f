#include "gateway/proxy/call_permit.h"

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/proxy/upstream_state.h"

namespace sluice {
namespace {

using Counter = Admission::Counter;
using Scope = conf::CircuitBreakerConfig::Scope;
using Kind = balancer::BreakerPass::Kind;
using balancer::BreakerPhase;

const Error kUpstreamFailed =
    UpstreamError(ErrorCode::kUpstreamReset, Retry::kIdempotent, "it ended");
const Error kClientLeft = ClientError(ErrorCode::kClientClosed, "it left");

class CallPermitTest : public testing::Test {
 protected:
  static constexpr uint8_t kProbes = 3;

  CallPermitTest() : loop_(std::move(Loop::Make().value())) {
    config_.key = "upstream/1";
    config_.limits = {.requests = 4, .retries = 2};
    auto& breaker = config_.circuit_breaker.emplace();
    breaker.scope = Scope::kBoth;
    breaker.failure_percentage = 0;
    breaker.consecutive_failures = 2;
    breaker.probes = kProbes;
    breaker.ramp = {};
    admission_ = std::make_unique<Admission>(*loop_, nullptr, config_.key, 1);
    Update();
  }

  void Update() {
    admission_->Update(config_);
    for (int i = 0; i < 2; ++i) {
      const auto address = SocketAddress::Make("10.0.0.1:" + std::to_string(80 + i)).value();
      if (endpoints_.size() < 2) {
        endpoints_.push_back(std::make_unique<Endpoint>(nullptr, config_.key, address));
      }
      endpoints_[i]->breaker = admission_->endpoint_breaker();
    }
  }

  // A call that has got all it asked for, with an attempt at the first endpoint.
  void Begin(CallPermit& permit) {
    permit.Begin(*admission_, config_.key);
    ASSERT_TRUE(permit.PassUpstream(now_));
    ASSERT_TRUE(permit.TakeRequest(false));
    ASSERT_TRUE(permit.PassEndpoint(*endpoints_[0], now_));
    permit.OnAttempt(now_);
  }

  BreakerPhase UpstreamPhase() { return Phase(admission_->shared()->breaker); }
  BreakerPhase EndpointPhase(size_t i = 0) { return Phase(endpoints_[i]->shared->breaker); }
  BreakerPhase Phase(const balancer::BreakerState& state) {
    return admission_->upstream_breaker()->Read(state, now_).phase;
  }
  uint32_t Count(Counter counter) { return admission_->shared().count(counter); }

  // How many probes a breaker that has just become half-open lets out: all, when none is missing
  // and none was given back twice.
  int ProbesLeft(balancer::BreakerState& state) {
    int probes = 0;
    while (admission_->upstream_breaker()->Admit(state, now_, 0).kind == Kind::kProbe) ++probes;
    return probes;
  }
  // Opens a breaker, and lets its time pass.
  void MakeHalfOpen(balancer::BreakerState& state) {
    const balancer::Breaker& breaker = *admission_->upstream_breaker();
    for (int i = 0; i < 2; ++i) {
      breaker.Report(state, breaker.Admit(state, now_, 0), balancer::CallOutcome::kBad, {}, now_);
    }
  }

  std::unique_ptr<Loop> loop_;
  conf::UpstreamConfig config_;
  std::unique_ptr<Admission> admission_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  MonoTime now_{hours(5)};
  const HeaderList none_;
};

TEST_F(CallPermitTest, NothingConfiguredCostsNothing) {
  config_.circuit_breaker.reset();
  config_.limits = {};
  Update();
  CallPermit permit;
  Begin(permit);
  EXPECT_EQ(Count(Counter::kActive), 0U);
  permit.OnAttemptHead(500, none_, now_);
  permit.OnCallHead(now_);
  permit.OnEnd(none_, now_);
  permit.Return(now_);
  EXPECT_EQ(Count(Counter::kActive), 0U);
}

TEST_F(CallPermitTest, TheEndGivesAllBackOnce) {
  CallPermit permit;
  Begin(permit);
  ASSERT_TRUE(permit.TakeRequest(false)) << "it has one already";
  ASSERT_TRUE(permit.TakeRetry(5));
  EXPECT_EQ(Count(Counter::kActive), 1U);
  EXPECT_EQ(Count(Counter::kRetries), 1U);
  permit.OnAttemptHead(200, none_, now_);
  permit.OnCallHead(now_);
  permit.OnEnd(none_, now_);
  permit.Return(now_);
  permit.Return(now_);
  EXPECT_EQ(Count(Counter::kActive), 0U);
  EXPECT_EQ(Count(Counter::kRetries), 0U);
  EXPECT_EQ(admission_->upstream_breaker()->Read(admission_->shared()->breaker, now_).requests, 1U);
}

TEST_F(CallPermitTest, ARetryHoldsOnePlaceAmongRetries) {
  CallPermit first, second;
  Begin(first);
  Begin(second);
  EXPECT_TRUE(first.TakeRetry(1));
  EXPECT_TRUE(first.TakeRetry(1)) << "the next one of the same call";
  EXPECT_EQ(Count(Counter::kRetries), 1U);
  EXPECT_FALSE(second.TakeRetry(1));
  first.FreeRetry();
  first.FreeRetry();
  EXPECT_EQ(Count(Counter::kRetries), 0U);
  EXPECT_TRUE(second.TakeRetry(1));
  first.Return(now_);
  second.Return(now_);
  EXPECT_EQ(Count(Counter::kRetries), 0U);
}

TEST_F(CallPermitTest, AboveTheLimitThereIsNoPlace) {
  std::vector<CallPermit> permits(5);
  for (int i = 0; i < 4; ++i) Begin(permits[i]);
  permits[4].Begin(*admission_, config_.key);
  EXPECT_FALSE(permits[4].TakeRequest(false));
  permits[4].Return(now_);
  EXPECT_EQ(Count(Counter::kActive), 4U) << "it had none to give back";
  for (CallPermit& permit : permits) permit.Return(now_);
  EXPECT_EQ(Count(Counter::kActive), 0U);
}

// An attempt's failure is its endpoint's, the call's the upstream's.
TEST_F(CallPermitTest, FailuresOfAttemptsAndOfCallsAreCountedApart) {
  for (int i = 0; i < 2; ++i) {
    CallPermit permit;
    Begin(permit);
    permit.OnAttemptFailed(kUpstreamFailed, now_);
    ASSERT_TRUE(permit.PassEndpoint(*endpoints_[1], now_));
    permit.OnAttempt(now_);
    permit.OnAttemptHead(200, none_, now_);
    permit.OnCallHead(now_);
    permit.OnEnd(none_, now_);
  }
  EXPECT_EQ(EndpointPhase(0), BreakerPhase::kOpen);
  EXPECT_EQ(EndpointPhase(1), BreakerPhase::kClosed);
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kClosed) << "the calls were answered";
  for (int i = 0; i < 2; ++i) {
    CallPermit permit;
    permit.Begin(*admission_, config_.key);
    ASSERT_TRUE(permit.PassUpstream(now_));
    permit.OnCallFailed(kUpstreamFailed, now_);
    permit.Return(now_);
  }
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kOpen);
  CallPermit refused;
  refused.Begin(*admission_, config_.key);
  EXPECT_FALSE(refused.PassUpstream(now_));
  EXPECT_EQ(refused.retry_after(), seconds(5));
  EXPECT_FALSE(refused.PassEndpoint(*endpoints_[0], now_));
  refused.Return(now_);
}

TEST_F(CallPermitTest, ABadStatusIsReportedAtItsHead) {
  std::vector<CallPermit> permits(2);
  for (CallPermit& permit : permits) {
    Begin(permit);
    permit.OnAttemptHead(503, none_, now_);
    permit.OnCallHead(now_);
  }
  EXPECT_EQ(EndpointPhase(), BreakerPhase::kOpen);
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kOpen);
  for (CallPermit& permit : permits) permit.OnEnd(none_, now_);
  EXPECT_EQ(Count(Counter::kActive), 0U);
}

TEST_F(CallPermitTest, AResponseThatIsNotRelayedIsTheEndpointsAlone) {
  for (int i = 0; i < 2; ++i) {
    CallPermit permit;
    Begin(permit);
    permit.OnAttemptHead(502, none_, now_);
    permit.OnAttemptAnswered(now_);
    permit.Return(now_);
  }
  EXPECT_EQ(EndpointPhase(), BreakerPhase::kOpen);
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kClosed);
}

TEST_F(CallPermitTest, AClientThatLeavesSaysNothing) {
  for (int i = 0; i < 10; ++i) {
    CallPermit permit;
    Begin(permit);
    permit.OnAttemptFailed(kClientLeft, now_);
    permit.OnCallFailed(kClientLeft, now_);
    permit.Return(now_);
  }
  EXPECT_EQ(EndpointPhase(), BreakerPhase::kClosed);
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kClosed);
}

TEST_F(CallPermitTest, AProbeIsReportedAtItsHead) {
  MakeHalfOpen(admission_->shared()->breaker);
  MakeHalfOpen(endpoints_[0]->shared->breaker);
  now_ += seconds(5);
  std::vector<CallPermit> probes(kProbes);
  for (CallPermit& probe : probes) Begin(probe);
  CallPermit refused;
  refused.Begin(*admission_, config_.key);
  EXPECT_FALSE(refused.PassUpstream(now_));
  for (CallPermit& probe : probes) {
    probe.OnAttemptHead(200, none_, now_);
    probe.OnCallHead(now_);
  }
  EXPECT_EQ(EndpointPhase(), BreakerPhase::kClosed) << "before the bodies are there";
  EXPECT_EQ(UpstreamPhase(), BreakerPhase::kClosed);
  for (CallPermit& probe : probes) probe.Return(now_);
}

// Calls in any state and order: the counts are what is held at every step, and in the end all
// places and all probes are there again.
TEST_F(CallPermitTest, EverythingIsGivenBackExactlyOnce) {
  struct Call {
    CallPermit permit;
    bool begun = false;
    bool has_place = false;
    bool has_retry = false;
  };
  std::mt19937 random(7);
  config_.circuit_breaker->consecutive_failures = 1'000'000;  // no change of phase on the way
  Update();
  for (int round = 0; round < 100; ++round) {
    std::vector<Call> calls(7);
    for (int step = 0; step < 300; ++step) {
      Call& call = calls[random() % calls.size()];
      CallPermit& permit = call.permit;
      if (!call.begun) {
        permit.Begin(*admission_, config_.key);
        ASSERT_TRUE(permit.PassUpstream(now_));
        call.has_place = permit.TakeRequest(false);
        call.begun = true;
        continue;
      }
      bool over = false;
      switch (random() % 8) {
        case 0:
          permit.PassEndpoint(*endpoints_[random() % 2], now_);
          permit.OnAttempt(now_);
          // The attempt before, if there was one, has ended.
          permit.OnAttemptHead(200, none_, now_);
          permit.OnAttemptAnswered(now_);
          break;
        case 1:
          permit.OnAttemptFailed(random() % 2 == 0 ? kUpstreamFailed : kClientLeft, now_);
          break;
        case 2:
          call.has_retry = permit.TakeRetry(2);
          break;
        case 3:
          permit.FreeRetry();
          call.has_retry = false;
          break;
        case 4:
          permit.OnCallHead(now_);
          break;
        case 5:
          permit.OnCallFailed(kUpstreamFailed, now_);
          break;
        case 6:
          permit.OnEnd(none_, now_);
          over = true;
          break;
        default:
          permit.Return(now_);
          over = true;
      }
      if (over) call.begun = call.has_place = call.has_retry = false;
      uint32_t places = 0, retries = 0;
      for (const Call& each : calls) {
        places += each.has_place ? 1 : 0;
        retries += each.has_retry ? 1 : 0;
      }
      ASSERT_EQ(Count(Counter::kActive), places);
      ASSERT_EQ(Count(Counter::kRetries), retries);
      ASSERT_LE(places, 4U);
      ASSERT_LE(retries, 2U);
    }
    for (Call& call : calls) {
      if (call.begun) call.permit.Return(now_);
    }
    ASSERT_EQ(Count(Counter::kActive), 0U);
    ASSERT_EQ(Count(Counter::kRetries), 0U);
  }
}

// The same for probes, which are few: none may stay out and none come back twice.
TEST_F(CallPermitTest, ProbesComeBackHoweverTheCallEnds) {
  for (int end = 0; end < 4; ++end) {
    for (Endpoint* endpoint : {endpoints_[0].get(), endpoints_[1].get()}) {
      balancer::Breaker::Force(endpoint->shared->breaker, BreakerPhase::kClosed, now_);
    }
    balancer::BreakerState& upstream = admission_->shared()->breaker;
    balancer::BreakerState& endpoint = endpoints_[0]->shared->breaker;
    balancer::Breaker::Force(upstream, BreakerPhase::kClosed, now_);
    MakeHalfOpen(upstream);
    MakeHalfOpen(endpoint);
    now_ += seconds(5);
    CallPermit permit;
    Begin(permit);
    if (end == 1) permit.OnAttemptFailed(kClientLeft, now_);
    if (end == 2) permit.OnCallFailed(kClientLeft, now_);
    permit.Return(now_);
    if (end == 3) permit.Return(now_);
    EXPECT_EQ(ProbesLeft(upstream), kProbes) << end;
    EXPECT_EQ(ProbesLeft(endpoint), kProbes) << end;
    now_ += hours(1);
  }
}

}  // namespace
}  // namespace sluice
