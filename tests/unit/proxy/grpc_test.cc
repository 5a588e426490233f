#include "gateway/proxy/grpc.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

RequestHead Request(HttpVersion version, std::string_view type) {
  RequestHead head;
  head.version = version;
  head.fields.Add("content-type", type);
  return head;
}

TEST(GrpcTest, KnowsItsContentTypes) {
  EXPECT_TRUE(IsGrpc(Request(HttpVersion::kHttp2, "application/grpc")));
  EXPECT_TRUE(IsGrpc(Request(HttpVersion::kHttp2, "Application/gRPC+proto")));
  EXPECT_TRUE(IsGrpc(Request(HttpVersion::kHttp2, "application/grpc; charset=x")));
  EXPECT_FALSE(IsGrpc(Request(HttpVersion::kHttp2, "application/grpc-web")));
  EXPECT_FALSE(IsGrpc(Request(HttpVersion::kHttp2, "application/json")));
  EXPECT_FALSE(IsGrpc(Request(HttpVersion::kHttp11, "application/grpc")));
}

TEST(GrpcTest, ReadsTimeoutsOfEachUnit) {
  EXPECT_EQ(ParseGrpcTimeout("2H"), Duration(std::chrono::hours(2)));
  EXPECT_EQ(ParseGrpcTimeout("3M"), Duration(std::chrono::minutes(3)));
  EXPECT_EQ(ParseGrpcTimeout("10S"), Duration(seconds(10)));
  EXPECT_EQ(ParseGrpcTimeout("100m"), Duration(milliseconds(100)));
  EXPECT_EQ(ParseGrpcTimeout("7u"), Duration(std::chrono::microseconds(7)));
  EXPECT_EQ(ParseGrpcTimeout("99999999n"), Duration(std::chrono::nanoseconds(99999999)));
  EXPECT_EQ(ParseGrpcTimeout("99999999H"), Duration(std::chrono::hours(24 * 365)));
  for (const char* bad : {"", "S", "1", "1s", "-1S", "123456789S", "1 S", "1.5S"}) {
    EXPECT_EQ(ParseGrpcTimeout(bad), std::nullopt) << bad;
  }
}

TEST(GrpcTest, EncodesMessages) {
  EXPECT_EQ(GrpcMessage("no route"), "no route");
  EXPECT_EQ(GrpcMessage("50%\n\xc3\xa4"), "50%25%0A%C3%A4");
}

TEST(GrpcTest, MapsOurStatusCodes) {
  EXPECT_EQ(GrpcStatusOf(404), 12);
  EXPECT_EQ(GrpcStatusOf(429), 8);
  EXPECT_EQ(GrpcStatusOf(502), 14);
  EXPECT_EQ(GrpcStatusOf(503), 14);
  EXPECT_EQ(GrpcStatusOf(504), 4);
  EXPECT_EQ(GrpcStatusOf(401), 16);
  EXPECT_EQ(GrpcStatusOf(403), 7);
  EXPECT_EQ(GrpcStatusOf(500), 2);
}

TEST(GrpcTest, KnowsTheStatusOfACode) {
  EXPECT_EQ(HttpStatusOfGrpc(0), 200);
  EXPECT_EQ(HttpStatusOfGrpc(2), 500);   // UNKNOWN
  EXPECT_EQ(HttpStatusOfGrpc(5), 404);   // NOT_FOUND
  EXPECT_EQ(HttpStatusOfGrpc(8), 429);   // RESOURCE_EXHAUSTED
  EXPECT_EQ(HttpStatusOfGrpc(14), 503);  // UNAVAILABLE
  EXPECT_EQ(HttpStatusOfGrpc(16), 401);  // UNAUTHENTICATED
  EXPECT_EQ(HttpStatusOfGrpc(99), 500);
}

}  // namespace
}  // namespace sluice
