#include "gateway/proxy/error_reply.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(ErrorReplyTest, SpeaksApisixWhenThereIsNoRoute) {
  EXPECT_EQ(ErrorBody(ErrorCode::kNoRoute), "{\"error_msg\":\"404 Route Not Found\"}\n");
}

TEST(ErrorReplyTest, GivesTheReason) {
  EXPECT_EQ(ErrorBody(ErrorCode::kConnectRefused),
            "{\"error_msg\":\"502 Bad Gateway\",\"reason\":\"connect_refused\"}\n");
  EXPECT_EQ(ErrorBody(ErrorCode::kUpstreamReadTimeout),
            "{\"error_msg\":\"504 Gateway Timeout\",\"reason\":\"upstream_read_timeout\"}\n");
}

TEST(ErrorReplyTest, EveryCodeHasAStatusWithAText) {
  for (int i = 1; i < static_cast<int>(ErrorCode::kCount); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    const int status = StatusOf(code);
    EXPECT_GE(status, 400) << ReasonName(code);
    EXPECT_TRUE(status == 499 || !StatusText(status).empty()) << ReasonName(code);
  }
}

TEST(ErrorReplyTest, KeepsTheConnectionOnlyWhenTheRequestsEndIsKnown) {
  EXPECT_FALSE(ClosesConnection(ErrorCode::kNoRoute));
  EXPECT_FALSE(ClosesConnection(ErrorCode::kConnectRefused));
  EXPECT_TRUE(ClosesConnection(ErrorCode::kBadFraming));
  EXPECT_TRUE(ClosesConnection(ErrorCode::kMalformedRequest));
  EXPECT_TRUE(ClosesConnection(ErrorCode::kBodyTooLarge));
}

TEST(ErrorReplyTest, RetryAfterIsInWholeSeconds) {
  EXPECT_EQ(RetryAfter(Duration::zero()), "1");
  EXPECT_EQ(RetryAfter(milliseconds(1)), "1");
  EXPECT_EQ(RetryAfter(milliseconds(4001)), "5");
}

}  // namespace
}  // namespace sluice
