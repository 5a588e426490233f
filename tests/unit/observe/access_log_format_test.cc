#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/observe/access_log.h"

namespace sluice {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// 2026-11-21T13:04:28.123456Z
constexpr WallTime kNow{seconds(1795266268) + microseconds(123456)};

// An ordinary request that a test changes in one respect.
struct Sample {
  Sample() {
    head.method = Method::kGet;
    head.method_text = "GET";
    head.target = "/hello/world?a=1";
    head.path = "/hello/world";
    head.query = "a=1";
    head.has_query = true;
    head.authority = "example.com:9080";
    head.fields.Add("Host", "example.com:9080");
    head.fields.Add("User-Agent", "curl/7.88.1");
    view.head = &head;
    view.scheme = "http";
    view.host = "example.com";
    view.path = "/hello/world";
    view.client_ip = *IpAddress::Parse("203.0.113.9");
    view.client_port = 40000;
    record.request = &view;
    record.status = 200;
    record.bytes_in = 120;
    record.bytes_out = 345;
    record.body_bytes_out = 12;
    record.route_id = "hello";
    record.upstream_key = "upstream:1";
    record.node = "127.0.0.1:1980";
    record.upstream_status = 201;
    record.attempts = 1;
    record.request_number = 3;
    record.connection_id = 77;
    record.id_high = 0x0123456789abcdef;
    record.id_low = 0xff;
    record.total = microseconds(12345);
    record.connect = microseconds(250);
    record.ttfb = microseconds(9999);
    record.upstream = microseconds(10001);
  }
  Sample(const Sample&) = delete;
  Sample& operator=(const Sample&) = delete;

  std::string Format(std::string_view format, WallTime now = kNow) const {
    const auto compiled = AccessLogFormat::Make(format);
    if (!compiled) return compiled.error().detail;
    std::string out;
    compiled->Append(out, record, now);
    return out;
  }

  RequestHead head;
  RequestView view;
  AccessRecord record;
};

std::string ErrorOf(std::string_view format) {
  const auto compiled = AccessLogFormat::Make(format);
  return compiled ? "no error" : compiled.error().detail;
}

// The time zone of the process for one test.
class Zone {
 public:
  explicit Zone(const char* name) {
    setenv("TZ", name, 1);
    tzset();
  }
  ~Zone() {
    unsetenv("TZ");
    tzset();
  }
};

TEST(AccessLogFormatTest, CombinedIsNginxs) {
  const Zone zone("UTC");
  Sample sample;
  EXPECT_EQ(sample.Format("combined"),
            "203.0.113.9 - - [21/Nov/2026:13:04:28 +0000] \"GET /hello/world?a=1 HTTP/1.1\" 200 12 "
            "\"-\" \"curl/7.88.1\"\n");
  sample.head.fields.Add("Referer", "http://a/");
  sample.head.fields.Add("Authorization", "Basic am9lOnNlY3JldA==");  // joe:secret
  sample.head.version = HttpVersion::kHttp10;
  sample.record.status = 9;
  EXPECT_EQ(sample.Format("combined"),
            "203.0.113.9 - joe [21/Nov/2026:13:04:28 +0000] \"GET /hello/world?a=1 HTTP/1.0\" 009 "
            "12 \"http://a/\" \"curl/7.88.1\"\n");
}

TEST(AccessLogFormatTest, CombinedEscapesAsNginx) {
  Sample sample;
  sample.head.fields.Clear();
  sample.head.target = "/\"\\\xc3\xa4\x7f";
  sample.head.fields.Add("User-Agent", "a\tb\" 200 1 \"x\n127.0.0.1 - - forged");
  EXPECT_THAT(sample.Format("combined"),
              EndsWith("\"GET /\\x22\\x5C\\xC3\\xA4\\x7F HTTP/1.1\" 200 12 \"-\" "
                       "\"a\\x09b\\x22 200 1 \\x22x\\x0A127.0.0.1 - - forged\"\n"));
}

TEST(AccessLogFormatTest, EmptyFieldIsNotAbsent) {
  Sample sample;
  sample.head.fields.Add("Referer", "");
  EXPECT_EQ(sample.Format("[$http_referer] [$http_x_none]"), "[] [-]\n");
}

TEST(AccessLogFormatTest, MalformedRequestHasDashes) {
  Sample sample;
  const RequestHead empty;
  sample.view = RequestView{};
  sample.view.head = &empty;
  sample.record.status = 400;
  EXPECT_EQ(sample.Format("\"$request\" $status $http_user_agent"), "\"-\" 400 -\n");
  sample.record.request = nullptr;
  EXPECT_EQ(sample.Format("\"$request\" $status"), "\"-\" 400\n");
  EXPECT_THAT(sample.Format("json"), HasSubstr("\"method\":null,\"host\":null,\"path\":null,"
                                               "\"proto\":null,\"status\":400"));
}

TEST(AccessLogFormatTest, JsonHasEveryKey) {
  EXPECT_EQ(Sample().Format("json"),
            "{\"ts\":\"2026-11-21T13:04:28.123456Z\",\"id\":\"0123456789abcdef00000000000000ff\","
            "\"client\":\"203.0.113.9\",\"method\":\"GET\",\"host\":\"example.com\","
            "\"path\":\"/hello/world\",\"proto\":\"HTTP/1.1\",\"status\":200,\"bytes_in\":120,"
            "\"bytes_out\":345,\"route\":\"hello\",\"upstream\":\"upstream:1\","
            "\"node\":\"127.0.0.1:1980\",\"attempts\":1,\"reason\":\"ok\","
            "\"t\":{\"total\":0.012345,\"connect\":0.000250,\"ttfb\":0.009999,"
            "\"upstream\":0.010001}}\n");
}

TEST(AccessLogFormatTest, JsonHasNullForWhatThereIsNot) {
  Sample sample;
  sample.record.route_id = {};
  sample.record.upstream_key = {};
  sample.record.node = {};
  sample.record.reason = ErrorCode::kNoRoute;
  EXPECT_THAT(sample.Format("json"), HasSubstr("\"route\":null,\"upstream\":null,\"node\":null,"));
  EXPECT_THAT(sample.Format("json"), HasSubstr("\"reason\":\"no_route\""));
}

TEST(AccessLogFormatTest, JsonEscapesWhatTheClientSent) {
  Sample sample;
  sample.view.path = "/\"},\n{\xff\xc3\xa4\\";
  EXPECT_THAT(sample.Format("json"),
              HasSubstr("\"path\":\"/\\\"},\\n{\xef\xbf\xbd\xc3\xa4\\\\\",\"proto\""));
}

TEST(AccessLogFormatTest, TemplateKnowsEveryVariable) {
  const Zone zone("UTC");
  const Sample sample;
  const std::pair<std::string_view, std::string_view> kExpected[] = {
      {"$status", "200"},
      {"$body_bytes_sent", "12"},
      {"$bytes_sent", "345"},
      {"$request_length", "120"},
      {"$request_time", "0.012"},
      {"$time_local", "21/Nov/2026:13:04:28 +0000"},
      {"$time_iso8601", "2026-11-21T13:04:28+00:00"},
      {"$msec", "1795266268.123"},
      {"$upstream_addr", "127.0.0.1:1980"},
      {"$upstream_status", "201"},
      {"$upstream_response_time", "0.010"},
      {"$upstream_connect_time", "0.000"},
      {"$upstream_header_time", "0.009"},
      {"$connection", "77"},
      {"$connection_requests", "3"},
      {"$request_id", "0123456789abcdef00000000000000ff"},
      {"$remote_user", "-"},
      {"$remote_addr", "203.0.113.9"},
      {"$request", "GET /hello/world?a=1 HTTP/1.1"},
      {"$route_id", "hello"},
      {"$upstream_key", "upstream:1"},
      {"$reason", "ok"},
      {"$attempts", "1"},
      {"$host", "example.com"},
      {"$uri", "/hello/world"},
      {"$arg_a", "1"},
  };
  for (const auto& [format, expected] : kExpected) {
    EXPECT_EQ(sample.Format(format), std::string(expected) + "\n") << format;
  }
}

TEST(AccessLogFormatTest, WithoutUpstreamItsVariablesAreDashes) {
  Sample sample;
  sample.record.attempts = 0;
  sample.record.node = {};
  sample.record.upstream_status = 0;
  sample.record.route_id = {};
  EXPECT_EQ(sample.Format("$upstream_addr $upstream_status $upstream_response_time "
                          "$upstream_connect_time $upstream_header_time $route_id"),
            "- - - - - -\n");
}

TEST(AccessLogFormatTest, BracesEndAName) {
  EXPECT_EQ(Sample().Format("a${status}b$status-${status}"), "a200b200-200\n");
}

TEST(AccessLogFormatTest, LiteralsAreKept) {
  EXPECT_EQ(Sample().Format("\"{}\\ $status %d end"), "\"{}\\ 200 %d end\n");
}

TEST(AccessLogFormatTest, TimesFollowTheZone) {
  const Zone zone("<+0530>-5:30");
  EXPECT_EQ(Sample().Format("$time_local $time_iso8601"),
            "21/Nov/2026:18:34:28 +0530 2026-11-21T18:34:28+05:30\n");
  EXPECT_THAT(Sample().Format("json"), StartsWith("{\"ts\":\"2026-11-21T13:04:28.123456Z\""));
}

TEST(AccessLogFormatTest, CachedSecondMovesOn) {
  const Zone zone("UTC");
  const Sample sample;
  const auto format = AccessLogFormat::Make("$time_iso8601 $msec");
  std::string out;
  for (const int offset : {0, 500, 900, 0}) {
    format->Append(out, sample.record, kNow + milliseconds(offset));
  }
  EXPECT_EQ(out,
            "2026-11-21T13:04:28+00:00 1795266268.123\n"
            "2026-11-21T13:04:28+00:00 1795266268.623\n"
            "2026-11-21T13:04:29+00:00 1795266269.023\n"
            "2026-11-21T13:04:28+00:00 1795266268.123\n");
}

TEST(AccessLogFormatTest, NegativeTimeIsZero) {
  Sample sample;
  sample.record.total = -seconds(5);
  EXPECT_EQ(sample.Format("$request_time"), "0.000\n");
}

TEST(AccessLogFormatTest, Ipv6AndUnixClients) {
  Sample sample;
  sample.view.client_ip = *IpAddress::Parse("2001:db8::1");
  EXPECT_EQ(sample.Format("$remote_addr"), "2001:db8::1\n");
  sample.view.client_ip = {};
  EXPECT_EQ(sample.Format("$remote_addr"), "unix:\n");
}

TEST(AccessLogFormatTest, RemoteUserOfAnyCredentials) {
  const std::pair<const char*, const char*> kCases[] = {
      {"Basic am9lOnNlY3JldA==", "joe"},  // joe:secret
      {"bAsIc   am9lOg", "joe"},          // joe: without padding
      {"Basic am9l", "-"},                // no colon
      {"Basic OnNlY3JldA==", "-"},        // :secret
      {"Basic !!!!", "-"},
      {"Basic am9!ZTp4", "-"},  // garbage before the colon
      {"Basic ", "-"},
      {"Basic", "-"},
      {"Bearer am9lOnNlY3JldA==", "-"},
      {"Basic ImEKYiI6eA==", "\\x22a\\x0Ab\\x22"},  // "a<LF>b":x
  };
  for (const auto& [header, user] : kCases) {
    Sample sample;
    sample.head.fields.Add("Authorization", header);
    EXPECT_EQ(sample.Format("$remote_user"), std::string(user) + "\n") << header;
  }
}

// Whatever bytes a client puts wherever it can, a record stays one line.
TEST(AccessLogFormatTest, NoByteBreaksTheLine) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  Sample sample;
  sample.head.fields.Clear();
  for (const char* name : {"User-Agent", "Referer", "Cookie", "X-Any"}) {
    sample.head.fields.Add(name, all);
  }
  sample.head.target = sample.head.method_text = all;
  sample.view.host = sample.view.path = all;
  for (const char* format :
       {"combined", "json", "$http_x_any $host $uri $request_method $http_cookie"}) {
    const std::string line = sample.Format(format);
    EXPECT_EQ(line.find('\n'), line.size() - 1) << format;
    for (const char c : line.substr(0, line.size() - 1)) {
      EXPECT_GE(static_cast<unsigned char>(c), 0x20) << format;
    }
  }
}

// conf/examples/logging.yaml
TEST(AccessLogFormatTest, FormatsTheExample) {
  const Zone zone("UTC");
  EXPECT_EQ(Sample().Format("$remote_addr [$time_iso8601] \"$request\" $status $request_time "
                            "$upstream_addr $reason"),
            "203.0.113.9 [2026-11-21T13:04:28+00:00] \"GET /hello/world?a=1 HTTP/1.1\" 200 0.012 "
            "127.0.0.1:1980 ok\n");
}

TEST(AccessLogFormatTest, RefusesUnknownVariables) {
  EXPECT_THAT(
      ErrorOf("$remote_addr $statsu"),
      AllOf(HasSubstr("column 14"), HasSubstr("\"statsu\""), HasSubstr("did you mean status")));
  EXPECT_THAT(ErrorOf("$request_methd"), HasSubstr("did you mean request_method"));
  EXPECT_THAT(ErrorOf("$nothing_like_it"), HasSubstr("unknown variable"));
}

TEST(AccessLogFormatTest, RefusesWhatIsNoTemplate) {
  EXPECT_THAT(ErrorOf("combind"), HasSubstr("expected \"combined\", \"json\" or a template"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("expected \"combined\""));
  EXPECT_THAT(ErrorOf("$status $"), AllOf(HasSubstr("column 9"), HasSubstr("name after \"$\"")));
  EXPECT_THAT(ErrorOf("$ status"), HasSubstr("name after \"$\""));
  EXPECT_THAT(ErrorOf("${status"), HasSubstr("expected \"}\""));
  EXPECT_THAT(ErrorOf("${}"), HasSubstr("name after \"$\""));
  EXPECT_THAT(ErrorOf("$status\n$status"), HasSubstr("line break"));
  EXPECT_THAT(ErrorOf("$post_arg_x"), HasSubstr("bodies are not kept"));
}

}  // namespace
}  // namespace sluice
