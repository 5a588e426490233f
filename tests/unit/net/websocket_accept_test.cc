#include "gateway/net/websocket_accept.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(WebSocketAcceptTest, IsThatOfTheRfcsExample) {  // RFC 6455 1.3
  EXPECT_EQ(WebSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

}  // namespace
}  // namespace sluice
