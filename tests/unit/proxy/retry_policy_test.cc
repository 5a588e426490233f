#include "gateway/proxy/retry_policy.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using enum RetryCondition;

RetryDecision Decide(RetryCondition condition, const AttemptFacts& facts,
                     const conf::RetryConfig& rules = {}) {
  return DecideRetry(condition, facts, rules);
}

TEST(RetryPolicyTest, KnowsTheWayOfAFailure) {
  const auto condition = [](ErrorCode code, Retry retry) {
    return ConditionOf(UpstreamError(code, retry, "lost"));
  };
  EXPECT_EQ(condition(ErrorCode::kConnectRefused, Retry::kSafe), kConnectFailure);
  EXPECT_EQ(condition(ErrorCode::kConnectTimeout, Retry::kSafe), kConnectFailure);
  EXPECT_EQ(condition(ErrorCode::kUpstreamTlsFailed, Retry::kSafe), kConnectFailure);
  EXPECT_EQ(condition(ErrorCode::kUpstreamTlsFailed, Retry::kIdempotent), kReset);
  EXPECT_EQ(condition(ErrorCode::kUpstreamTlsFailed, Retry::kNever), kNone);  // a wrong name
  EXPECT_EQ(condition(ErrorCode::kUpstreamReset, Retry::kSafe), kRefusedStream);
  EXPECT_EQ(condition(ErrorCode::kUpstreamReset, Retry::kIdempotent), kReset);
  EXPECT_EQ(condition(ErrorCode::kUpstreamClosed, Retry::kIdempotent), kReset);
  EXPECT_EQ(condition(ErrorCode::kUpstreamReadTimeout, Retry::kNever), kTimeout);
  EXPECT_EQ(condition(ErrorCode::kUpstreamReadTimeout, Retry::kIdempotent), kReset);  // a ping
  EXPECT_EQ(condition(ErrorCode::kUpstreamTryTimeout, Retry::kIdempotent), kTryTimeout);
  for (const ErrorCode code : {ErrorCode::kUpstreamSendTimeout, ErrorCode::kInvalidResponse,
                               ErrorCode::kResponseTruncated, ErrorCode::kNoHealthyNode}) {
    EXPECT_EQ(condition(code, Retry::kNever), kNone) << ReasonName(code);
  }
}

TEST(RetryPolicyTest, GoesToAnotherEndpointWhenNothingWasProcessed) {
  for (const Method method : {Method::kGet, Method::kPost, Method::kPatch, Method::kOther}) {
    for (const RetryCondition condition : {kConnectFailure, kRefusedStream}) {
      EXPECT_EQ(Decide(condition, {.method = method, .retries_left = 1}),
                RetryDecision::kOtherEndpoint);
    }
  }
}

TEST(RetryPolicyTest, RepeatsOnlyIdempotentMethodsThatMayHaveBeenSeen) {
  conf::RetryConfig all;
  all.timeout = true;
  for (const RetryCondition condition : {kReset, kTimeout, kTryTimeout, kStatus}) {
    const auto decide = [&](Method method) {
      return Decide(condition, {.method = method, .retries_left = 1}, all);
    };
    EXPECT_EQ(decide(Method::kGet), RetryDecision::kOtherEndpoint);
    EXPECT_EQ(decide(Method::kPut), RetryDecision::kOtherEndpoint);
    EXPECT_EQ(decide(Method::kPost), RetryDecision::kGiveUp);
    EXPECT_EQ(decide(Method::kPatch), RetryDecision::kGiveUp);
    EXPECT_EQ(decide(Method::kOther), RetryDecision::kGiveUp);
  }
}

TEST(RetryPolicyTest, NeverRepeatsWhatMustNotBe) {
  EXPECT_EQ(Decide(kNone, {.method = Method::kGet, .stale_connection = true, .retries_left = 5}),
            RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, NeedsTheBodyAtHand) {
  EXPECT_EQ(Decide(kConnectFailure,
                   {.method = Method::kGet, .body_replayable = false, .retries_left = 1}),
            RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, RepeatsOnlyWhatIsListed) {
  const AttemptFacts facts{.method = Method::kGet, .retries_left = 1};
  EXPECT_EQ(Decide(kTimeout, facts), RetryDecision::kGiveUp);  // not by default
  conf::RetryConfig none;
  none.connect_failure = none.refused_stream = none.reset = false;
  for (const RetryCondition condition : {kConnectFailure, kRefusedStream, kReset, kTimeout}) {
    EXPECT_EQ(Decide(condition, facts, none), RetryDecision::kGiveUp);
  }
  EXPECT_EQ(Decide(kTryTimeout, facts, none), RetryDecision::kOtherEndpoint);
}

TEST(RetryPolicyTest, KnowsListedStatuses) {
  EXPECT_FALSE(IsRetryStatus(503, {}));
  conf::RetryConfig rules;
  rules.statuses = {502, 503};
  EXPECT_TRUE(IsRetryStatus(503, rules));
  EXPECT_FALSE(IsRetryStatus(504, rules));
}

TEST(RetryPolicyTest, AStaleConnectionCostsNoRetryButOnlyOnce) {
  AttemptFacts facts{.method = Method::kGet, .stale_connection = true, .retries_left = 0};
  EXPECT_EQ(Decide(kReset, facts), RetryDecision::kFreshConnection);
  EXPECT_EQ(Decide(kRefusedStream, facts), RetryDecision::kFreshConnection);
  conf::RetryConfig none;
  none.reset = false;
  EXPECT_EQ(Decide(kReset, facts, none), RetryDecision::kFreshConnection);
  facts.stale_retried = true;
  EXPECT_EQ(Decide(kReset, facts), RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, AReusedConnectionThatOnlyIsSlowIsNotStale) {
  conf::RetryConfig rules;
  rules.timeout = true;
  const AttemptFacts facts{.method = Method::kGet, .stale_connection = true, .retries_left = 1};
  for (const RetryCondition condition : {kTimeout, kTryTimeout, kStatus}) {
    EXPECT_EQ(Decide(condition, facts, rules), RetryDecision::kOtherEndpoint);
  }
}

TEST(RetryPolicyTest, StopsAtRetryTimeout) {
  AttemptFacts facts{.method = Method::kGet,
                     .retries_left = 1,
                     .elapsed = seconds(2),
                     .retry_timeout = seconds(2)};
  EXPECT_EQ(Decide(kConnectFailure, facts), RetryDecision::kGiveUp);
  facts.elapsed = seconds(1);
  EXPECT_EQ(Decide(kConnectFailure, facts), RetryDecision::kOtherEndpoint);
}

}  // namespace
}  // namespace sluice
