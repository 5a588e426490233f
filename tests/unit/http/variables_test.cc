#include "gateway/http/variables.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/routing/test_request.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The value of a variable; "(absent)" for none.
std::string Read(std::string_view name, const RequestView& request) {
  const auto variable = Variable::Make(name);
  if (!variable) return "(error) " + variable.error().detail;
  std::string scratch;
  const std::string_view value = variable->Value(request, scratch);
  return value.data() == nullptr ? "(absent)" : std::string(value);
}

TEST(VariableTest, ReadsTheRequestLine) {
  TestRequest request("POST", "a.example", "/x/y?b=1");
  EXPECT_EQ(Read("uri", request.view), "/x/y");
  EXPECT_EQ(Read("request_uri", request.view), "/x/y?b=1");
  EXPECT_EQ(Read("args", request.view), "b=1");
  EXPECT_EQ(Read("query_string", request.view), "b=1");
  EXPECT_EQ(Read("is_args", request.view), "?");
  EXPECT_EQ(Read("request_method", request.view), "POST");
  EXPECT_EQ(Read("method", request.view), "POST");
  EXPECT_EQ(Read("server_protocol", request.view), "HTTP/1.1");
  EXPECT_EQ(Read("request", request.view), "POST /x/y?b=1 HTTP/1.1");
  EXPECT_EQ(Read("scheme", request.view), "http");
}

TEST(VariableTest, RequestUriOfAnAbsoluteFormHasNoAuthority) {
  TestRequest request("GET", "a.example", "/x?y");
  request.head().scheme = "http";
  request.head().target = "http://a.example/x?y";
  EXPECT_EQ(Read("request_uri", request.view), "/x?y");
}

TEST(VariableTest, TellsAnEmptyQueryFromNone) {
  TestRequest none("GET", "h", "/");
  EXPECT_EQ(Read("args", none.view), "(absent)");
  EXPECT_EQ(Read("is_args", none.view), "");
  TestRequest empty("GET", "h", "/?");
  EXPECT_EQ(Read("args", empty.view), "");
  EXPECT_EQ(Read("is_args", empty.view), "");
}

TEST(VariableTest, HostIsNormalisedAndHttpHostIsNot) {
  TestRequest request("GET", "A.example:8080", "/");
  request.view.host = "a.example";
  EXPECT_EQ(Read("host", request.view), "a.example");
  EXPECT_EQ(Read("http_host", request.view), "A.example:8080");
  TestRequest none("GET", "", "/");
  EXPECT_EQ(Read("host", none.view), "(absent)");
  EXPECT_EQ(Read("http_host", none.view), "(absent)");
}

TEST(VariableTest, ArgumentsAreDecodedAndTheFirstCounts) {
  TestRequest request("GET", "h", "/?a=x%20y+z&a=2&flag&empty=&%6eame=v&b%=1&A=upper");
  EXPECT_EQ(Read("arg_a", request.view), "x y z");
  EXPECT_EQ(Read("arg_A", request.view), "upper");
  EXPECT_EQ(Read("arg_flag", request.view), "");
  EXPECT_EQ(Read("arg_empty", request.view), "");
  EXPECT_EQ(Read("arg_name", request.view), "v");
  EXPECT_EQ(Read("arg_b%", request.view), "1");
  EXPECT_EQ(Read("arg_missing", request.view), "(absent)");
}

TEST(VariableTest, ArgumentsOfAFormNeedTheBody) {
  TestRequest request("POST", "h", "/?a=query");
  request.view.form_body = "a=form&b=2";
  EXPECT_EQ(Read("post_arg_a", request.view), "form");
  EXPECT_EQ(Read("arg_a", request.view), "query");
  EXPECT_EQ(Read("post_arg_c", request.view), "(absent)");
  EXPECT_TRUE(Variable::Make("post_arg_a")->needs_body());
  EXPECT_FALSE(Variable::Make("arg_a")->needs_body());
}

TEST(VariableTest, HeadersMatchInAnyCaseAndAreJoined) {
  TestRequest request("GET", "h", "/",
                      {{"X-Api-Version", "2"},
                       {"x-many", "a"},
                       {"X-Many", "b"},
                       {"User-Agent", "curl"},
                       {"X-Empty", ""},
                       {"X-Forwarded-For", "1.1.1.1"},
                       {"X-Forwarded-For", "2.2.2.2"}});
  EXPECT_EQ(Read("http_x_api_version", request.view), "2");
  EXPECT_EQ(Read("http_X-Api-Version", request.view), "2");
  EXPECT_EQ(Read("http_x_many", request.view), "a, b");
  EXPECT_EQ(Read("http_user_agent", request.view), "curl");
  EXPECT_EQ(Read("http_x_empty", request.view), "");
  EXPECT_EQ(Read("http_x_forwarded_for", request.view), "1.1.1.1, 2.2.2.2");
  EXPECT_EQ(Read("http_x_none", request.view), "(absent)");
  EXPECT_EQ(Read("http_referer", request.view), "(absent)");
}

TEST(VariableTest, ReadsContentFields) {
  TestRequest request("POST", "h", "/", {{"Content-Type", "text/plain"}, {"Content-Length", "5"}});
  EXPECT_EQ(Read("content_type", request.view), "text/plain");
  EXPECT_EQ(Read("content_length", request.view), "5");
  TestRequest none("GET", "h", "/");
  EXPECT_EQ(Read("content_type", none.view), "(absent)");
}

TEST(VariableTest, CookiesComeFromEveryCookieField) {
  TestRequest request("GET", "h", "/", {{"Cookie", "a=1; b=2"}, {"Cookie", "c=3"}});
  EXPECT_EQ(Read("cookie_b", request.view), "2");
  EXPECT_EQ(Read("cookie_c", request.view), "3");
  EXPECT_EQ(Read("cookie_d", request.view), "(absent)");
}

TEST(VariableTest, ReadsAddresses) {
  TestRequest request("GET", "h", "/", {}, "10.1.2.3");
  request.view.client_port = 4711;
  request.view.peer_ip = IpAddress::Parse("::1").value();
  EXPECT_EQ(Read("remote_addr", request.view), "10.1.2.3");
  EXPECT_EQ(Read("remote_port", request.view), "4711");
  EXPECT_EQ(Read("realip_remote_addr", request.view), "::1");
  request.view.client_text = "unix:";
  EXPECT_EQ(Read("remote_addr", request.view), "unix:");
  EXPECT_EQ(Read("server_addr", request.view), "(absent)");
  EXPECT_EQ(Read("server_port", request.view), "(absent)");
  const auto server = SocketAddress::FromIp(IpAddress::Parse("192.0.2.1").value(), 9080);
  request.view.server = &server;
  EXPECT_EQ(Read("server_addr", request.view), "192.0.2.1");
  EXPECT_EQ(Read("server_port", request.view), "9080");
}

TEST(VariableTest, ReadsIds) {
  TestRequest request("GET", "h", "/");
  for (const char* name : {"route_id", "service_id", "consumer_name", "consumer_group_id"}) {
    EXPECT_EQ(Read(name, request.view), "(absent)") << name;
  }
  request.view.route_id = "r";
  request.view.service_id = "s";
  request.view.consumer_name = "jack";
  request.view.consumer_group_id = "g";
  EXPECT_EQ(Read("route_id", request.view), "r");
  EXPECT_EQ(Read("service_id", request.view), "s");
  EXPECT_EQ(Read("consumer_name", request.view), "jack");
  EXPECT_EQ(Read("consumer_group_id", request.view), "g");
}

TEST(VariableTest, AnUnknownNameIsAnErrorWithNearNames) {
  TestRequest request("GET", "h", "/");
  EXPECT_THAT(Read("remote_adr", request.view), HasSubstr("did you mean remote_addr?"));
  EXPECT_THAT(Read("whatever", request.view), HasSubstr("known are uri, "));
  EXPECT_THAT(Read("arg_", request.view), HasSubstr("unknown variable \"arg_\""));
  EXPECT_THAT(Read("", request.view), HasSubstr("unknown variable"));
}

// "literal|name@column" for each part.
std::vector<std::string> Parts(std::string_view text) {
  const auto parts = SplitTemplate(text);
  if (!parts) return {"(error) " + parts.error().detail};
  std::vector<std::string> out;
  for (const TemplatePart& part : *parts) {
    out.push_back(std::string(part.literal) + "|" + std::string(part.variable) + "@" +
                  std::to_string(part.column));
  }
  return out;
}

TEST(SplitTemplateTest, CutsAtEachVariable) {
  EXPECT_THAT(Parts(""), testing::IsEmpty());
  EXPECT_THAT(Parts("text"), ElementsAre("text|@0"));
  EXPECT_THAT(Parts("$uri"), ElementsAre("|uri@1"));
  EXPECT_THAT(Parts("a $uri${host}b"), ElementsAre("a |uri@3", "|host@7", "b|@0"));
}

TEST(SplitTemplateTest, SaysWhereANameIsMissing) {
  EXPECT_THAT(Parts("$uri $"), ElementsAre(HasSubstr("column 6: expected a variable's name")));
  EXPECT_THAT(Parts("x${uri"), ElementsAre(HasSubstr("column 2: expected \"}\" after \"${uri\"")));
  EXPECT_THAT(Parts("${}"), ElementsAre(HasSubstr("column 1: expected a variable's name")));
}

}  // namespace
}  // namespace sluice
