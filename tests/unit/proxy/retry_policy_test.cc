#include "gateway/proxy/retry_policy.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

Error Lost(Retry retry) { return UpstreamError(ErrorCode::kUpstreamReset, retry, "lost"); }

TEST(RetryPolicyTest, GoesToAnotherEndpointWhenNothingWasProcessed) {
  for (const Method method : {Method::kGet, Method::kPost, Method::kPatch, Method::kOther}) {
    EXPECT_EQ(DecideRetry(Lost(Retry::kSafe), {.method = method, .retries_left = 1}),
              RetryDecision::kOtherEndpoint);
  }
}

TEST(RetryPolicyTest, RepeatsOnlyIdempotentMethodsThatMayHaveBeenSeen) {
  const auto decide = [](Method method) {
    return DecideRetry(Lost(Retry::kIdempotent), {.method = method, .retries_left = 1});
  };
  EXPECT_EQ(decide(Method::kGet), RetryDecision::kOtherEndpoint);
  EXPECT_EQ(decide(Method::kPut), RetryDecision::kOtherEndpoint);
  EXPECT_EQ(decide(Method::kPost), RetryDecision::kGiveUp);
  EXPECT_EQ(decide(Method::kPatch), RetryDecision::kGiveUp);
  EXPECT_EQ(decide(Method::kOther), RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, NeverRepeatsWhatMustNotBe) {
  EXPECT_EQ(DecideRetry(Lost(Retry::kNever), {.method = Method::kGet, .retries_left = 5}),
            RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, NeedsTheBodyAtHand) {
  EXPECT_EQ(DecideRetry(Lost(Retry::kSafe),
                        {.method = Method::kGet, .body_replayable = false, .retries_left = 1}),
            RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, AStaleConnectionCostsNoRetryButOnlyOnce) {
  AttemptFacts facts{.method = Method::kGet, .stale_connection = true, .retries_left = 0};
  EXPECT_EQ(DecideRetry(Lost(Retry::kIdempotent), facts), RetryDecision::kFreshConnection);
  facts.stale_retried = true;
  EXPECT_EQ(DecideRetry(Lost(Retry::kIdempotent), facts), RetryDecision::kGiveUp);
}

TEST(RetryPolicyTest, StopsAtRetryTimeout) {
  AttemptFacts facts{.method = Method::kGet,
                     .retries_left = 1,
                     .elapsed = seconds(2),
                     .retry_timeout = seconds(2)};
  EXPECT_EQ(DecideRetry(Lost(Retry::kSafe), facts), RetryDecision::kGiveUp);
  facts.elapsed = seconds(1);
  EXPECT_EQ(DecideRetry(Lost(Retry::kSafe), facts), RetryDecision::kOtherEndpoint);
}

}  // namespace
}  // namespace sluice
