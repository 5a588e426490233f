#include "gateway/http/http1_codec.h"

#include <gtest/gtest.h>

#include "tests/unit/http/allocation_count.h"
#include "tests/unit/http/codec_transcript.h"

namespace sluice {
namespace {

using Role = Http1Decoder::Role;

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

TranscriptOptions WithLimits(CodecLimits limits, Role role = Role::kServer) {
  TranscriptOptions options;
  options.role = role;
  options.limits = limits;
  return options;
}

TEST(Http1CodecTest, ReportsTheEndOfABodilessMessageWithoutFurtherInput) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  std::string_view input = kGet;
  ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
  EXPECT_TRUE(input.empty());
  EXPECT_FALSE(decoder.between_messages());
  EXPECT_FALSE(decoder.in_head());
  EXPECT_EQ(decoder.Next(input), CodecEvent::kEnd);
  EXPECT_EQ(decoder.Next(input), CodecEvent::kNeedMore);
}

TEST(Http1CodecTest, StandsStillBehindTheEnd) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kClient, limits);
  std::string_view input = "HTTP/1.1 101 Switching Protocols\r\n\r\ntunnel bytes";
  ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
  ASSERT_EQ(decoder.Next(input), CodecEvent::kEnd);
  EXPECT_EQ(decoder.Next(input), CodecEvent::kNeedMore);
  EXPECT_EQ(decoder.OnEof(), CodecEvent::kNeedMore);
  EXPECT_EQ(input, "tunnel bytes");
}

TEST(Http1CodecTest, KeepsTheHeadWhenTheInputIsGone) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  std::string bytes =
      "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Long: 0123456789\r\n\r\nabc";
  std::string_view input = bytes;
  ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
  ASSERT_EQ(decoder.Next(input), CodecEvent::kData);
  EXPECT_EQ(decoder.data().data(), bytes.data() + bytes.size() - 3) << "the body is not copied";
  bytes.assign(bytes.size(), '#');
  const RequestHead& head = decoder.request();
  EXPECT_EQ(head.method, Method::kPost);
  EXPECT_EQ(head.target, "/a?b");
  EXPECT_EQ(head.path, "/a");
  EXPECT_EQ(head.query, "b");
  EXPECT_EQ(head.authority, "h");
  EXPECT_EQ(head.fields.Value(HeaderId::kHost), "h");
  ASSERT_NE(head.fields.Find("x-long"), nullptr);
  EXPECT_EQ(head.fields.Find("x-long")->value, "0123456789");
}

TEST(Http1CodecTest, ForgetsTheHeadBeforeTheNextMessage) {
  CodecLimits limits;
  limits.head = 100;
  Http1Decoder decoder(Role::kServer, limits);
  std::string_view input = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
  ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
  ASSERT_EQ(decoder.Next(input), CodecEvent::kEnd);
  decoder.StartMessage();
  const std::string too_large = "GET /second HTTP/1.1\r\nX: " + std::string(100, 'x');
  input = too_large;
  ASSERT_EQ(decoder.Next(input), CodecEvent::kError);
  const RequestHead& head = decoder.request();
  EXPECT_EQ(head.method, Method::kOther);
  EXPECT_EQ(head.method_text, "");
  EXPECT_EQ(head.target, "");
  EXPECT_EQ(head.path, "");
  EXPECT_EQ(head.authority, "");
  EXPECT_TRUE(head.fields.empty());
}

TEST(Http1CodecTest, KnowsWhereAMessageStands) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  EXPECT_TRUE(decoder.between_messages());
  EXPECT_TRUE(decoder.is_fresh());
  std::string_view empty_line = "\r\n";
  EXPECT_EQ(decoder.Next(empty_line), CodecEvent::kNeedMore);
  EXPECT_TRUE(decoder.between_messages()) << "an empty line begins nothing";
  EXPECT_FALSE(decoder.is_fresh()) << "but it counts";
  EXPECT_EQ(decoder.OnEof(), CodecEvent::kNeedMore);
  std::string_view begin = "G";
  EXPECT_EQ(decoder.Next(begin), CodecEvent::kNeedMore);
  EXPECT_TRUE(decoder.in_head());
  EXPECT_EQ(decoder.OnEof(), CodecEvent::kError);
  EXPECT_EQ(decoder.error().code, ErrorCode::kClientClosed);
}

TEST(Http1CodecTest, ReportsAClientThatClosesInABody) {
  TranscriptOptions options;
  options.eof = true;
  EXPECT_EQ(Transcript(options, {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"}),
            "POST a / 1.1 body 3\ndata ab\nerror client_closed client\n");
}

TEST(Http1CodecTest, ReleasesItsMemoryAndGoesOn) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  for (int round = 0; round < 3; ++round) {
    std::string_view input = kGet;
    ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
    ASSERT_EQ(decoder.Next(input), CodecEvent::kEnd);
    decoder.StartMessage();
    decoder.ReleaseMemory();
    EXPECT_TRUE(decoder.request().fields.empty());
  }
}

TEST(Http1CodecTest, AllocatesNothingForAFurtherMessage) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  const std::string bytes =
      "POST /a HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x/1.0\r\nX-Trace: 0123456789\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n";
  const auto decode = [&] {
    decoder.StartMessage();
    std::string_view input = bytes;
    CodecEvent event = CodecEvent::kHead;
    while (event != CodecEvent::kEnd && event != CodecEvent::kError) event = decoder.Next(input);
    return event;
  };
  ASSERT_EQ(decode(), CodecEvent::kEnd);
  const size_t before = AllocationCount();
  for (int i = 0; i < 10; ++i) ASSERT_EQ(decode(), CodecEvent::kEnd);
  EXPECT_EQ(AllocationCount(), before);
  EXPECT_GT(before, 0) << "the counter must be in use";
}

TEST(Http1CodecTest, RefusesALongRequestLineBeforeItIsComplete) {
  const CodecLimits limits{.request_line = 100};
  const std::string fits = "GET /" + std::string(100 - 16, 'x') + " HTTP/1.1\r\n";
  ASSERT_EQ(fits.size(), 100);
  EXPECT_EQ(Transcript(WithLimits(limits), {fits, "Host: a\r\n\r\n"}),
            "GET a /" + std::string(84, 'x') + " 1.1 body none\nend\n");
  const std::string error = "error uri_too_long client\n";
  EXPECT_EQ(Transcript(WithLimits(limits), {"GET /" + std::string(96, 'x')}), error);
  EXPECT_EQ(Transcript(WithLimits(limits), BytesOf("GET /" + std::string(96, 'x'))), error);
}

TEST(Http1CodecTest, CallsLongGarbageMalformedHoweverItIsCut) {
  const CodecLimits limits{.request_line = 100};
  const std::string garbage(200, '\x01');
  const std::string error = "error malformed_request client\n";
  EXPECT_EQ(Transcript(WithLimits(limits), {garbage}), error);
  EXPECT_EQ(Transcript(WithLimits(limits), BytesOf(garbage)), error);
}

TEST(Http1CodecTest, RefusesALargeHeadBeforeItIsComplete) {
  const CodecLimits limits{.head = 100};
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  const std::string fits = start + std::string(100 - start.size() - 4, 'x') + "\r\n\r\n";
  EXPECT_EQ(Transcript(WithLimits(limits), {fits}), "GET a / 1.1 body none\nend\n");
  const std::string error = "error headers_too_large client\n";
  const std::string large = start + std::string(100, 'x');
  EXPECT_EQ(Transcript(WithLimits(limits), {large}), error);
  EXPECT_EQ(Transcript(WithLimits(limits), BytesOf(large)), error);
  EXPECT_EQ(Transcript(WithLimits(limits, Role::kClient),
                       {"HTTP/1.1 200 OK\r\nX: " + std::string(100, 'x')}),
            "error response_head_too_large upstream\n");
  EXPECT_EQ(
      Transcript(WithLimits(limits, Role::kClient), {"HTTP/1.1 200 " + std::string(100, 'x')}),
      "error response_head_too_large upstream\n");
}

TEST(Http1CodecTest, RefusesManyFields) {
  const CodecLimits limits{.fields = 3};
  const std::string fits = "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n";
  EXPECT_EQ(Transcript(WithLimits(limits), {fits + "\r\n"}), "GET a / 1.1 body none\nend\n");
  EXPECT_EQ(Transcript(WithLimits(limits), {fits + "X: 3\r\n\r\n"}),
            "error headers_too_large client\n");
  EXPECT_EQ(Transcript(WithLimits(limits), BytesOf(fits + "X: 3\r\n\r\n")),
            "error headers_too_large client\n");
}

TEST(Http1CodecTest, BoundsTheExtensionsOfAllChunksTogether) {
  std::string bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) bytes += "1;" + std::string(1000, 'e') + "\r\nx\r\n";
  EXPECT_EQ(Transcript({}, {bytes}),
            "POST a / 1.1 body chunked\ndata xxxxxxxxxxxxxxxx\nerror bad_framing client\n");
}

TEST(Http1CodecTest, BoundsTrailers) {
  const CodecLimits limits{.trailers = 100};
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  const std::string bytes = head + "X: " + std::string(100, 'x') + "\r\n\r\n";
  const std::string error = "POST a / 1.1 body chunked\nerror headers_too_large client\n";
  EXPECT_EQ(Transcript(WithLimits(limits), {bytes}), error);
  EXPECT_EQ(Transcript(WithLimits(limits), BytesOf(bytes)), error);
}

TEST(Http1CodecTest, BoundsInformationalResponsesOfOneExchange) {
  const CodecLimits limits{.informational = 2};
  const std::string hint = "HTTP/1.1 103 H\r\n\r\n";
  const std::string final = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  const std::string hint_line = "103 [H] 1.1 body none\nend\n";
  const std::string final_line = "200 [OK] 1.1 body 0\nend\n";
  const TranscriptOptions options = WithLimits(limits, Role::kClient);
  EXPECT_EQ(Transcript(options, {hint + hint + final + hint + hint + final}),
            hint_line + hint_line + final_line + hint_line + hint_line + final_line);
  EXPECT_EQ(Transcript(options, {hint + hint + hint + final}),
            hint_line + hint_line + "error invalid_response upstream\n");
}

TEST(Http1CodecTest, SaysWhatCame) {
  TranscriptOptions options;
  options.with_detail = true;
  EXPECT_EQ(Transcript(options, {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\x80\r\n\r\n"}),
            "error bad_framing client: expected the transfer coding 'chunked', got 'x\\x80'\n");
}

TEST(Http1CodecTest, DropsTheTrailersOfTheMessageBefore) {
  const CodecLimits limits;
  Http1Decoder decoder(Role::kServer, limits);
  std::string_view input =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n";
  ASSERT_EQ(decoder.Next(input), CodecEvent::kHead);
  ASSERT_EQ(decoder.Next(input), CodecEvent::kEnd);
  ASSERT_EQ(decoder.trailers().size(), 1);
  decoder.StartMessage();
  EXPECT_TRUE(decoder.trailers().empty());
}

}  // namespace
}  // namespace sluice
