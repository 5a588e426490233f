#include "gateway/proxy/forward_headers.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class UpstreamHeadTest : public testing::Test {
 protected:
  UpstreamHeadTest() {
    head_.method = Method::kGet;
    head_.method_text = "GET";
    head_.authority = "a.test:8080";
    view_.head = &head_;
    view_.path = "/x";
    view_.scheme = "http";
    view_.peer_text = view_.client_text = "10.0.0.9";
  }
  std::string Write() { return std::string(WriteUpstreamHead(request_, arena_)); }

  Arena arena_;
  RequestHead head_;
  RequestView view_;
  UpstreamRequest request_{.view = view_,
                           .host = "a.test:8080",
                           .via = {},
                           .server_port = 9080,
                           .peer_is_trusted = false};
};

TEST_F(UpstreamHeadTest, WritesTheMatchedPathAndOurForwardingFields) {
  head_.has_query = true;
  head_.query = "q=1";
  EXPECT_EQ(Write(),
            "GET /x?q=1 HTTP/1.1\r\n"
            "Host: a.test:8080\r\n"
            "X-Real-IP: 10.0.0.9\r\n"
            "X-Forwarded-For: 10.0.0.9\r\n"
            "X-Forwarded-Proto: http\r\n"
            "X-Forwarded-Host: a.test:8080\r\n"
            "X-Forwarded-Port: 9080\r\n"
            "\r\n");
}

TEST_F(UpstreamHeadTest, DropsHopByHopFieldsAndWhatConnectionNames) {
  head_.fields.Add("Connection", "X-Hop, close");
  head_.fields.Add("Keep-Alive", "5");
  head_.fields.Add("TE", "trailers");
  head_.fields.Add("Upgrade", "h2c");
  head_.fields.Add("HTTP2-Settings", "x");
  head_.fields.Add("Proxy", "http://evil");
  head_.fields.Add("Proxy-Connection", "keep-alive");
  head_.fields.Add("x-hop", "1");
  head_.fields.Add("X-End", "1");
  const std::string out = Write();
  for (const char* gone :
       {"Connection", "Keep-Alive", "TE:", "Upgrade", "HTTP2", "Proxy:", "x-hop"}) {
    EXPECT_THAT(out, Not(HasSubstr(gone))) << gone;
  }
  EXPECT_THAT(out, HasSubstr("X-End: 1\r\n"));
}

TEST_F(UpstreamHeadTest, ConnectionCannotStripEndToEndFields) {
  head_.fields.Add("Connection", "host, authorization, cookie, x-forwarded-for, content-length");
  head_.fields.Add("Authorization", "secret");
  head_.fields.Add("Cookie", "a=b");
  head_.body = {BodyFraming::Kind::kLength, 5};
  const std::string out = Write();
  EXPECT_THAT(out, HasSubstr("Authorization: secret\r\n"));
  EXPECT_THAT(out, HasSubstr("Cookie: a=b\r\n"));
  EXPECT_THAT(out, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_THAT(out, HasSubstr("X-Forwarded-For: 10.0.0.9\r\n"));
}

TEST_F(UpstreamHeadTest, ReplacesForwardingFieldsOfAnUntrustedPeer) {
  head_.fields.Add("X-Forwarded-For", "6.6.6.6");
  head_.fields.Add("X-Forwarded-Proto", "https");
  head_.fields.Add("X-Real-IP", "6.6.6.6");
  head_.fields.Add("Forwarded", "for=6.6.6.6");
  const std::string out = Write();
  EXPECT_THAT(out, Not(HasSubstr("6.6.6.6")));
  EXPECT_THAT(out, HasSubstr("X-Forwarded-Proto: http\r\n"));
}

TEST_F(UpstreamHeadTest, ExtendsForwardingFieldsOfATrustedPeer) {
  request_.peer_is_trusted = true;
  view_.client_text = "1.2.3.4";
  head_.fields.Add("X-Forwarded-For", "1.2.3.4");
  head_.fields.Add("X-Forwarded-Proto", "https");
  head_.fields.Add("Forwarded", "for=1.2.3.4");
  const std::string out = Write();
  EXPECT_THAT(out, HasSubstr("X-Real-IP: 1.2.3.4\r\n"));
  EXPECT_THAT(out, HasSubstr("X-Forwarded-For: 1.2.3.4, 10.0.0.9\r\n"));
  EXPECT_THAT(out, HasSubstr("X-Forwarded-Proto: https\r\n"));
  EXPECT_THAT(out, HasSubstr("Forwarded: for=1.2.3.4\r\n"));
}

TEST_F(UpstreamHeadTest, WritesFramingFromWhatWasParsed) {
  head_.fields.Add("Transfer-Encoding", "chunked");
  head_.body.kind = BodyFraming::Kind::kChunked;
  std::string out = Write();
  EXPECT_THAT(out, HasSubstr("Transfer-Encoding: chunked\r\n\r\n"));
  head_.body = {BodyFraming::Kind::kLength, 0};
  EXPECT_THAT(Write(), HasSubstr("Content-Length: 0\r\n\r\n"));
}

TEST_F(UpstreamHeadTest, AddsViaWhenConfigured) {
  request_.via = "gw";
  head_.fields.Add("Via", "1.0 other");
  EXPECT_THAT(Write(), HasSubstr("Via: 1.0 other\r\n"));
  EXPECT_THAT(Write(), HasSubstr("Via: 1.1 gw\r\n"));
}

TEST(ClientHeadTest, KeepsFieldsAndWritesFramingDateAndClose) {
  Arena arena;
  ResponseHead head;
  head.status = 200;
  head.reason = "Fine";
  head.fields.Add("Set-Cookie", "a=1");
  head.fields.Add("Connection", "x-hop");
  head.fields.Add("X-Hop", "1");
  head.fields.Add("Content-Length", "99");
  const std::string out(WriteClientHead(
      head, {.date = "today", .framing = {BodyFraming::Kind::kLength, 5}, .close = true}, arena));
  EXPECT_EQ(out,
            "HTTP/1.1 200 Fine\r\n"
            "Set-Cookie: a=1\r\n"
            "Date: today\r\n"
            "Content-Length: 5\r\n"
            "Connection: close\r\n\r\n");
}

TEST(ClientHeadTest, LeavesTheUpstreamsDate) {
  Arena arena;
  ResponseHead head;
  head.status = 204;
  head.fields.Add("Date", "then");
  const std::string out(WriteClientHead(head, {.date = "now"}, arena));
  EXPECT_THAT(out, StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_THAT(out, HasSubstr("Date: then\r\n"));
  EXPECT_THAT(out, Not(HasSubstr("now")));
}

TEST(TrailersTest, ForwardsOnlyWhatMayStandInTrailers) {
  Arena arena;
  HeaderList trailers;
  trailers.Add("X-Checksum", "1");
  trailers.Add("Content-Length", "5");
  trailers.Add("Transfer-Encoding", "chunked");
  trailers.Add("Host", "evil");
  trailers.Add("Authorization", "x");
  EXPECT_EQ(WriteTrailers(trailers, arena), "X-Checksum: 1\r\n");
}

TEST(ChunkHeadTest, IsHexWithCrlf) {
  Arena arena;
  EXPECT_EQ(WriteChunkHead(1, arena), "1\r\n");
  EXPECT_EQ(WriteChunkHead(65536, arena), "10000\r\n");
}

}  // namespace
}  // namespace sluice
