#include "gateway/control/explain.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/base/text.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kConfig = R"({
  "routes": [
    {"id": "post", "uri": "/a/b", "methods": ["POST"], "upstream_id": "u"},
    {"id": "canary", "uri": "/a/b", "vars": [["http_x_canary", "==", "1"]], "upstream_id": "u"},
    {"id": "wild", "uris": ["/a/*"], "host": "*.example.com", "priority": 3, "upstream_id": "u"},
    {"id": "off", "uri": "/off", "status": 0, "upstream_id": "u"},
    {"id": "v6", "uri": "/v6", "upstream": {"type": "roundrobin",
                                            "nodes": [{"host": "::1", "port": 80, "weight": 2}]}}
  ],
  "upstreams": [{"id": "u", "type": "roundrobin", "nodes": {"127.0.0.1:1980": 7}}]
})";

std::shared_ptr<const Snapshot> MakeSnapshot(std::string_view text = kConfig) {
  conf::Diagnostics diagnostics;
  auto config = conf::DecodeDocument(text, diagnostics);
  EXPECT_NE(config, nullptr) << diagnostics.ToText();
  if (config == nullptr) return nullptr;
  auto snapshot = Snapshot::Make(std::move(config), 1, diagnostics);
  EXPECT_NE(snapshot, nullptr) << diagnostics.ToText();
  return snapshot;
}

std::string Explain(const ExplainInput& input, bool json = false) {
  const auto snapshot = MakeSnapshot();
  const auto text = ExplainRequest(*snapshot, input, json);
  return text ? *text
              : "(error " + std::string(ReasonName(text.error().code)) + ") " + text.error().detail;
}

ExplainInput Get(std::string url) { return {.method = "GET", .url = std::move(url)}; }

// A cell of a Markdown table without its space and back-ticks.
std::string_view Plain(std::string_view cell) {
  cell = TrimOws(cell);
  return cell.empty() || cell.front() != '`' ? cell : cell.substr(1, cell.size() - 2);
}

TEST(ExplainTest, PrintsTheNormalisedRequest) {
  const std::string text = Explain(Get("HTTPS://W.Example.COM:8443/a/./x/%7e?q=1"));
  EXPECT_THAT(text, HasSubstr("scheme  https\n"));
  EXPECT_THAT(text, HasSubstr("host    w.example.com\n"));
  EXPECT_THAT(text, HasSubstr("path    /a/x/~\n"));
  EXPECT_THAT(text, HasSubstr("query   q=1\n"));
  EXPECT_THAT(text, HasSubstr("client  127.0.0.1\n"));
}

TEST(ExplainTest, ListsCandidatesInOrderWithTheFailedPredicate) {
  const std::string text = Explain(Get("http://a.b/a/b"));
  const size_t post = text.find("methods: GET is not one of POST");
  const size_t canary = text.find("vars: http_x_canary == \"1\": got nothing");
  ASSERT_NE(post, std::string::npos) << text;
  ASSERT_NE(canary, std::string::npos) << text;
  EXPECT_LT(post, canary);
  EXPECT_THAT(text, HasSubstr("No route matches: 404"));
  EXPECT_THAT(text, Not(HasSubstr("wild")));
}

TEST(ExplainTest, NamesTheWinnerItsLineAndItsUpstream) {
  const std::string text = Explain({.method = "GET",
                                    .url = "/a/b",
                                    .headers = {{"host", "x.example.com"}, {"X-Canary", " 1 "}}});
  EXPECT_THAT(text, HasSubstr("*.example.com /a/*"));
  EXPECT_THAT(text, HasSubstr("Route     wild"));
  EXPECT_THAT(text, HasSubstr(":5\n"));
  EXPECT_THAT(text, HasSubstr("Upstream  upstream/u  roundrobin"));
  EXPECT_THAT(text, HasSubstr("127.0.0.1:1980  weight 7"));
}

TEST(ExplainTest, AHeaderTakesPart) {
  EXPECT_THAT(Explain({.url = "/a/b", .headers = {{"X-Canary", "1"}}}),
              HasSubstr("Route     canary"));
  EXPECT_THAT(Explain({.method = "POST", .url = "/a/b"}), HasSubstr("Route     post"));
}

TEST(ExplainTest, WritesJson) {
  const std::string json = Explain(Get("/v6"), true);
  EXPECT_THAT(json, HasSubstr(R"("request":{"method":"GET","scheme":"http","host":"localhost")"));
  EXPECT_THAT(json, HasSubstr(R"("path":"/v6","query":null,"client_ip":"127.0.0.1")"));
  EXPECT_THAT(json, HasSubstr(R"("route":{"id":"v6","position":)"));
  EXPECT_THAT(json, HasSubstr(R"("upstream":{"key":"route/v6","type":"roundrobin")"));
  EXPECT_THAT(json, HasSubstr(R"([{"address":"[::1]:80","weight":2,"priority":0}])"));
  EXPECT_THAT(Explain(Get("/none"), true),
              HasSubstr(R"("candidates":[],"route":null,"plugins":[],"upstream":null})"));
}

TEST(ExplainTest, RefusesWhatAWorkerWouldRefuse) {
  EXPECT_THAT(Explain(Get("http://h/a%2Fb")), HasSubstr("(error bad_path)"));
  EXPECT_THAT(Explain(Get("http://us er/")), HasSubstr("(error bad_host)"));
  EXPECT_THAT(Explain({.url = "/", .headers = {{"Host", "a"}, {"Host", "b"}}}),
              HasSubstr("expected one Host field"));
  EXPECT_THAT(Explain({.method = "TRACE", .url = "/"}), HasSubstr("(error method_not_allowed)"));
  EXPECT_THAT(Explain({.url = "/", .headers = {{"a b", "c"}}}), HasSubstr("expected a field name"));
}

TEST(ExplainTest, RefusesInputThatIsNoRequest) {
  EXPECT_THAT(Explain(Get("ftp://h/")), HasSubstr("expected a URL that starts with http://"));
  EXPECT_THAT(Explain(Get("host/path")), HasSubstr("expected a URL as http://host/path"));
  EXPECT_THAT(Explain({.method = "G T", .url = "/"}), HasSubstr("expected a method"));
  EXPECT_THAT(Explain({.url = "/", .client_ip = "x"}), HasSubstr("expected the IP address"));
}

TEST(ExplainTest, SaysThatAFormFieldCannotBeKnown) {
  const auto snapshot = MakeSnapshot(
      R"({"routes":[{"id":"f","uri":"/","vars":[["post_arg_a","==","1"]],
          "upstream":{"nodes":{"127.0.0.1:1":1}}}]})");
  EXPECT_THAT(*ExplainRequest(*snapshot, Get("/"), false), HasSubstr("without a body"));
}

TEST(ExplainTest, TheWorkedExamplesOfTheDocumentationHold) {
  conf::Diagnostics diagnostics;
  const auto config = conf::LoadFile("conf/examples/routing.yaml", diagnostics);
  ASSERT_NE(config, nullptr) << diagnostics.ToText();
  const auto snapshot = Snapshot::Make(config, 1, diagnostics);
  std::ifstream document("docs/routing.md");
  int examples = 0;
  for (std::string line; std::getline(document, line);) {
    // | `GET http://host/path` | `route` | why |
    if (line.rfind("| `GET http", 0) != 0 && line.rfind("| `POST http", 0) != 0) continue;
    const auto cells = Split(line, '|');
    const auto request = Split(Plain(cells.at(1)), ' ');
    const std::string route(Plain(cells.at(2)));
    ++examples;
    const ExplainInput input = {.method = std::string(request.at(0)),
                                .url = std::string(request.at(1))};
    const auto text = ExplainRequest(*snapshot, input, false);
    ASSERT_TRUE(text) << line;
    EXPECT_THAT(*text, HasSubstr(route == "none" ? "\nNo route matches: 404\n"
                                                 : "\nRoute     " + route + "  "))
        << line;
  }
  EXPECT_GE(examples, 10);
}

TEST(ListRoutesTest, ShowsEveryRouteAsText) {
  const std::string text = ListRoutes(MakeSnapshot()->config(), false);
  EXPECT_THAT(text, HasSubstr("ID "));
  EXPECT_THAT(text, ::testing::ContainsRegex("wild +/a/\\* +\\*\\.example\\.com +any +3 +on +"
                                             "upstream/u +[^ ]+:5\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("off +/off +any +any +0 +off"));
}

TEST(ListRoutesTest, ShowsEveryRouteAsJson) {
  const std::string json = ListRoutes(MakeSnapshot()->config(), true);
  EXPECT_THAT(json, HasSubstr(R"({"id":"post","uris":["/a/b"],"hosts":[],"methods":["POST"],)"
                              R"("priority":0,"status":1,"upstream":"upstream/u","position":)"));
}

}  // namespace
}  // namespace sluice
