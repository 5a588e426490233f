#include "gateway/http/hygiene.h"

#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::string_view_literals::operator""sv;

RequestHead MakeRequest(std::string_view target = "/") {
  RequestHead head;
  head.method = Method::kGet;
  head.method_text = "GET";
  head.target = target;
  head.fields.Add("Host", "a.test");
  return head;
}

TEST(HygieneTest, AcceptsAPlainRequest) {
  RequestHead head = MakeRequest("/x?y=/../");
  ASSERT_TRUE(CheckRequest(head).has_value());
  EXPECT_EQ(head.authority, "a.test");
  EXPECT_EQ(head.path, "/x");
  EXPECT_EQ(head.query, "y=/../");
  EXPECT_TRUE(head.keep_alive);
  EXPECT_EQ(head.body.kind, BodyFraming::Kind::kNone);
}

TEST(HygieneTest, ForgetsWhatTheHeadSaidBefore) {
  RequestHead head = MakeRequest("http://b.test/x?y");
  head.fields.Add("Content-Length", "5");
  head.fields.Add("Expect", "100-continue");
  ASSERT_TRUE(CheckRequest(head).has_value());
  EXPECT_TRUE(head.expect_continue);
  head.target = "/z";
  head.fields.Clear();
  head.fields.Add("Host", "c.test");
  ASSERT_TRUE(CheckRequest(head).has_value());
  EXPECT_EQ(head.scheme, "");
  EXPECT_EQ(head.authority, "c.test");
  EXPECT_FALSE(head.has_query);
  EXPECT_EQ(head.query, "");
  EXPECT_FALSE(head.expect_continue);
  EXPECT_EQ(head.body.kind, BodyFraming::Kind::kNone);
}

TEST(HygieneTest, RefusesBadFieldsWithoutHelpOfAParser) {
  for (const auto& [name, value] :
       std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"X", "a\0b"sv}, {"X", "a\r\nb"}, {"X", "a\nb"}, {"X Y", "a"}, {"", "a"}, {"X:", "a"}}) {
    RequestHead head = MakeRequest();
    head.fields.Add(name, value);
    const Status status = CheckRequest(head);
    ASSERT_FALSE(status.has_value()) << name << ": " << value;
    EXPECT_EQ(status.error().code, ErrorCode::kMalformedRequest);
    ResponseHead response;
    response.status = 200;
    response.fields.Add(name, value);
    EXPECT_FALSE(CheckResponse(response, Method::kGet).has_value());
  }
}

TEST(HygieneTest, FoldsEqualLengthsOfAResponse) {
  ResponseHead head;
  head.status = 200;
  head.fields.Add("Content-Length", "5");
  head.fields.Add("Content-Length", "5");
  ASSERT_TRUE(CheckResponse(head, Method::kGet).has_value());
  EXPECT_EQ(head.body.length, 5);
}

TEST(HygieneTest, FieldValuesMayHoldTabAndHighBytesOnly) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool allowed = byte == '\t' || (byte >= ' ' && byte != 0x7f);
    // At each place of a word and behind it.
    for (size_t at = 0; at < 20; ++at) {
      std::string text(20, 'x');
      text[at] = static_cast<char>(byte);
      ASSERT_EQ(IsFieldValue(text), allowed) << byte << " at " << at;
    }
  }
  EXPECT_TRUE(IsFieldValue(""));
  EXPECT_TRUE(IsFieldValue("\xff\xfe\x80\x81\xa0\xff\xfe\x80\xff"));
}

TEST(HygieneTest, TokensAreThoseOfRfc9110) {
  EXPECT_TRUE(IsToken("!#$%&'*+-.^_`|~09azAZ"));
  EXPECT_FALSE(IsToken(""));
  for (const char c : "()<>@,;:\\\"/[]?={} \t\x7f\x80"sv) EXPECT_FALSE(IsToken({&c, 1})) << c;
}

TEST(HygieneTest, KnowsValidAuthorities) {
  for (const auto* good : {"a", "a.b", "A-b_c.test:80", "127.0.0.1:0", "[::1]", "[::1]:65535",
                           "a:", "a.", "xn--4ca.test", "[::ffff:1.2.3.4]"}) {
    EXPECT_TRUE(IsValidAuthority(good)) << good;
  }
  for (const auto bad : {""sv,        ":"sv,        ":80"sv,     "a:b"sv,
                         "a:65536"sv, "a:-1"sv,     "a: 80"sv,   "a b"sv,
                         "a@b"sv,     "a,b"sv,      "a/b"sv,     "a?b"sv,
                         "a#b"sv,     "a\\b"sv,     "a\0b"sv,    "a%41"sv,
                         "::1"sv,     "[::1"sv,     "[]"sv,      "[1.2.3.4]"sv,
                         "[::1]80"sv, "[::1]:x"sv,  "[::1\0]"sv, "[fe80::1%eth0]"sv,
                         "[v1.x]"sv,  "\xc3\xa4"sv, "a\x7f"sv,   "a:99999999999999999999"sv}) {
    EXPECT_FALSE(IsValidAuthority(bad)) << bad;
  }
}

TEST(HygieneTest, TrailersMustNotFrameRouteOrAuthorise) {
  for (const char* name : {"Content-Length",
                           "Transfer-Encoding",
                           "Host",
                           "Authorization",
                           "Cookie",
                           "Set-Cookie",
                           "Content-Type",
                           "Content-Encoding",
                           "Content-Range",
                           "Connection",
                           "TE",
                           "Trailer",
                           "Upgrade",
                           "Expect",
                           "Max-Forwards",
                           "Cache-Control",
                           "X-Forwarded-For",
                           "X-Real-IP",
                           "Forwarded",
                           "Proxy",
                           "apikey",
                           "LOCATION",
                           "Transfer_Encoding",
                           "content_length"}) {
    EXPECT_FALSE(IsForwardableTrailer(FindHeaderId(name), name)) << name;
  }
  for (const char* name :
       {"grpc-status", "grpc-message", "Server-Timing", "Digest", "ETag", "X-Sum", "Date"}) {
    EXPECT_TRUE(IsForwardableTrailer(FindHeaderId(name), name)) << name;
  }
}

}  // namespace
}  // namespace sluice
