#include "conf/resources.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::conf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = testing::TempDir() + "conf_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

 private:
  std::string path_;
};

std::shared_ptr<const Config> Load(const std::string& text, Diagnostics& diagnostics) {
  const TemporaryDirectory directory;
  return LoadFile(directory.Write("sluice.yaml", text), diagnostics);
}

TEST(LoadFileTest, NeedsOnlyRoutes) {
  Diagnostics diagnostics;
  const auto config = Load(
      "routes:\n"
      "  - {id: hello, uri: /hello/*, upstream: {nodes: {\"127.0.0.1:1980\": 1}}}\n",
      diagnostics);
  ASSERT_NE(config, nullptr) << diagnostics.ToText();
  ASSERT_EQ(config->routes.size(), 1u);
  EXPECT_EQ(config->routes[0].id, "hello");
  EXPECT_THAT(config->routes[0].uris, ElementsAre("/hello/*"));
  EXPECT_EQ(config->routes[0].position.line, 2u);
  ASSERT_EQ(config->upstreams.size(), 1u);
  EXPECT_EQ(config->upstreams[0].key, "route/hello");
  EXPECT_EQ(config->upstreams[0].nodes[0].host, "127.0.0.1");
  EXPECT_EQ(config->upstreams[0].nodes[0].port, 1980);
  ASSERT_EQ(config->gateway.listen.size(), 1u);
  EXPECT_EQ(config->gateway.listen[0].address.ToString(), "0.0.0.0:9080");
}

std::string Problems(const std::string& text) {
  Diagnostics diagnostics;
  EXPECT_EQ(Load(text, diagnostics), nullptr);
  return diagnostics.ToText();
}

std::shared_ptr<const Config> Good(const std::string& text) {
  Diagnostics diagnostics;
  auto config = Load(text, diagnostics);
  EXPECT_NE(config, nullptr) << diagnostics.ToText();
  return config != nullptr ? config : std::make_shared<const Config>();
}

TEST(LoadFileTest, LoadsWhatIsShipped) {
  std::vector<std::string> files = {"conf/sluice.yaml"};
  for (const auto& entry : std::filesystem::directory_iterator("conf/examples")) {
    // tls.yaml reads certificates that have to be made first; tests/process/test_tls.py does.
    if (entry.path().filename() == "tls.yaml") continue;
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  EXPECT_GE(files.size(), 5u);
  for (const std::string& file : files) {
    Diagnostics diagnostics;
    EXPECT_NE(LoadFile(file, diagnostics), nullptr) << diagnostics.ToText();
  }
}

TEST(LoadFileTest, NamesTheFileThatIsMissing) {
  Diagnostics diagnostics;
  EXPECT_EQ(LoadFile("/nothing/here.yaml", diagnostics), nullptr);
  EXPECT_THAT(diagnostics.ToText(), HasSubstr("open /nothing/here.yaml: No such file"));
}

TEST(LoadFileTest, RefusesDirectoriesAndPipes) {
  for (const char* path : {"conf", "/dev/null"}) {
    Diagnostics diagnostics;
    EXPECT_EQ(LoadFile(path, diagnostics), nullptr);
    EXPECT_THAT(diagnostics.ToText(), HasSubstr("expected a regular file"));
  }
}

TEST(LoadFileTest, ReadsEverythingOfTheGatewaySection) {
  Diagnostics diagnostics;
  const auto config = LoadFile("tests/golden/config/good_gateway.yaml", diagnostics);
  ASSERT_NE(config, nullptr) << diagnostics.ToText();
  const GatewayConfig& gateway = config->gateway;
  EXPECT_EQ(gateway.workers, 512);
  EXPECT_EQ(gateway.user, "www-data");
  ASSERT_EQ(gateway.listen.size(), 3u);
  EXPECT_EQ(gateway.listen[1].address.ToString(), "unix:/run/sluice/http.sock");
  EXPECT_EQ(gateway.listen[1].backlog, 128);
  EXPECT_EQ(gateway.listen[2].address.ToString(), "[::1]:9081");
  EXPECT_FALSE(gateway.access_log.enabled);
  EXPECT_EQ(gateway.error_log.level, LogLevel::kOff);
  ASSERT_EQ(gateway.trusted_proxies.size(), 3u);
  EXPECT_EQ(gateway.trusted_proxies[0].ToString(), "10.0.0.0/8");
  EXPECT_EQ(gateway.via, "gw-1");
  EXPECT_EQ(gateway.client_max_body_size, 10'000'000u);
  EXPECT_EQ(gateway.timeouts.header, milliseconds(500));
  EXPECT_EQ(gateway.timeouts.body, minutes(2));
  EXPECT_EQ(gateway.timeouts.send, hours(1));
  EXPECT_EQ(gateway.timeouts.keepalive, milliseconds(7500));
  EXPECT_EQ(gateway.timeouts.shutdown, seconds(0));
  EXPECT_EQ(gateway.limits.worker_connections, 10u);
  EXPECT_EQ(gateway.limits.request_line, 4096u);
  EXPECT_EQ(gateway.limits.header_size, 65536u);
  EXPECT_EQ(gateway.limits.header_count, 10u);
  EXPECT_EQ(gateway.limits.http2_streams, 7u);
  EXPECT_EQ(gateway.limits.min_body_rate, 0u);
}

TEST(LoadFileTest, HasTheDocumentedDefaults) {
  const auto config = Good("routes: []\n");
  EXPECT_EQ(config->gateway.workers, 0);
  EXPECT_EQ(config->gateway.control, "/run/sluice/control.sock");
  EXPECT_TRUE(config->gateway.access_log.enabled);
  EXPECT_EQ(config->gateway.timeouts.keepalive, seconds(75));
  EXPECT_EQ(config->gateway.client_max_body_size, 0u);
}

TEST(LoadFileTest, ReadsEverythingOfARoute) {
  const auto config = Good(R"(
routes:
  - id: 7
    name: n
    desc: d
    uris: [/a, /b/*]
    hosts: [EXAMPLE.com, "*.example.com", "::1", 10.0.0.1]
    methods: [GET, PURGE]
    remote_addrs: [10.0.0.0/8, "::1"]
    vars: [[arg_x, "==", "1"]]
    priority: -3
    status: 0
    timeout: {connect: 0.5, send: 1, read: 2}
    labels: {team: a}
    create_time: 1
    update_time: 2
    upstream: {nodes: {}}
)");
  ASSERT_EQ(config->routes.size(), 1u);
  const RouteConfig& route = config->routes[0];
  EXPECT_EQ(route.id, "7");
  EXPECT_EQ(route.name, "n");
  EXPECT_EQ(route.desc, "d");
  EXPECT_THAT(route.uris, ElementsAre("/a", "/b/*"));
  EXPECT_THAT(route.hosts, ElementsAre("example.com", "*.example.com", "[::1]", "10.0.0.1"));
  EXPECT_THAT(route.methods, ElementsAre("GET", "PURGE"));
  ASSERT_EQ(route.remote_addrs.size(), 2u);
  ASSERT_NE(route.vars, nullptr);
  EXPECT_EQ(ToJson(*route.vars), R"([["arg_x","==","1"]])");
  EXPECT_EQ(route.priority, -3);
  EXPECT_FALSE(route.enabled);
  ASSERT_TRUE(route.timeout.has_value());
  EXPECT_EQ(route.timeout->connect, milliseconds(500));
  EXPECT_EQ(route.upstream, 0);
}

TEST(LoadFileTest, ReadsEverythingOfAnUpstream) {
  const auto config = Good(R"(
routes: []
upstreams:
  - id: u
    name: n
    type: roundrobin
    scheme: http
    nodes:
      - {host: Name.example, port: 81, weight: 3, priority: -1, metadata: {zone: a}}
      - {host: "[::1]", weight: 0}
      - {host: "unix:/run/x.sock", weight: 1}
    pass_host: rewrite
    upstream_host: "internal:8080"
    retries: 0
    retry_timeout: 1.5
    timeout: {connect: 1, send: 2, read: 3}
    keepalive_pool: {size: 5, idle_timeout: 0, requests: 7}
    hash_on: vars
)");
  ASSERT_EQ(config->upstreams.size(), 1u);
  const UpstreamConfig& upstream = config->upstreams[0];
  EXPECT_EQ(upstream.key, "upstream/u");
  ASSERT_EQ(upstream.nodes.size(), 3u);
  EXPECT_EQ(upstream.nodes[0].host, "name.example");
  EXPECT_EQ(upstream.nodes[0].port, 81);
  EXPECT_EQ(upstream.nodes[0].weight, 3u);
  EXPECT_EQ(upstream.nodes[0].priority, -1);
  EXPECT_EQ(upstream.nodes[1].host, "::1");
  EXPECT_EQ(upstream.nodes[1].port, 80);
  EXPECT_EQ(upstream.nodes[1].weight, 0u);
  EXPECT_EQ(upstream.nodes[2].host, "unix:/run/x.sock");
  EXPECT_EQ(upstream.nodes[2].port, 0);
  EXPECT_EQ(upstream.pass_host, UpstreamConfig::PassHost::kRewrite);
  EXPECT_EQ(upstream.upstream_host, "internal:8080");
  EXPECT_EQ(upstream.retries, std::optional<uint32_t>(0));
  EXPECT_EQ(upstream.retry_timeout, milliseconds(1500));
  EXPECT_EQ(upstream.timeout.send, seconds(2));
  EXPECT_EQ(upstream.keepalive_size, 5u);
  EXPECT_EQ(upstream.keepalive_idle, seconds(0));
  EXPECT_EQ(upstream.keepalive_requests, 7u);
}

TEST(LoadFileTest, ReadsNodeMaps) {
  const auto config = Good(R"(
routes: []
upstreams:
  - id: u
    nodes: {"a.b": 1, "127.0.0.1:8080": 2, "[::1]:81": 3, "[::2]": 4, "unix:/x:y": 5}
)");
  const std::vector<NodeConfig>& nodes = config->upstreams.at(0).nodes;
  ASSERT_EQ(nodes.size(), 5u);
  std::string all;
  for (const NodeConfig& node : nodes) {
    all += node.host + "|" + std::to_string(node.port) + "|" + std::to_string(node.weight) + " ";
  }
  EXPECT_EQ(all, "a.b|80|1 127.0.0.1|8080|2 ::1|81|3 ::2|80|4 unix:/x:y|0|5 ");
}

TEST(LoadFileTest, ResolvesReferences) {
  const auto config = Good(R"(
routes:
  - {id: own, uri: /a, service_id: s, upstream_id: 2}
  - {id: through, uri: /b, service_id: s}
  - {id: hosts, uri: /c, service_id: s, host: own.test}
  - {id: any, uri: /d, service_id: s, host: "*"}
  - {id: inline, uri: /e, service_id: bare, upstream: {nodes: {}}}
  - {id: none, uri: /f, service_id: bare}
services:
  - {id: s, hosts: [service.test], upstream: {nodes: {}}}
  - {id: bare}
upstreams: [{id: 2, nodes: {}}]
)");
  const auto& routes = config->routes;
  ASSERT_EQ(routes.size(), 6u);
  const auto key = [&](size_t i) {
    return config->upstreams.at(static_cast<size_t>(routes[i].upstream)).key;
  };
  EXPECT_EQ(key(0), "upstream/2");
  EXPECT_THAT(routes[0].hosts, ElementsAre("service.test"));
  EXPECT_EQ(key(1), "service/s");
  EXPECT_THAT(routes[2].hosts, ElementsAre("own.test"));
  EXPECT_TRUE(routes[3].hosts.empty());
  EXPECT_EQ(key(4), "route/inline");
  EXPECT_EQ(routes[5].upstream, -1);
}

TEST(LoadFileTest, GivesStableIds) {
  const std::string a = "  - {uri: /a, upstream: {nodes: {}}}\n";
  const std::string b = "  - {uri: /b, upstream: {nodes: {}}}\n";
  const auto first = Good("routes:\n" + a + b + b);
  const auto second = Good("routes:\n" + b + b + a);
  ASSERT_EQ(first->routes.size(), 3u);
  EXPECT_EQ(first->routes[0].id, second->routes[2].id);
  EXPECT_EQ(first->routes[1].id, second->routes[0].id);
  EXPECT_EQ(first->routes[2].id, first->routes[1].id + "-2");
  EXPECT_NE(first->routes[0].id, first->routes[1].id);
  EXPECT_EQ(first->upstreams[0].key, "route/" + first->routes[0].id);
}

TEST(LoadFileTest, TypesOnlyPlainSubstitutions) {
  setenv("SLUICE_TEST_NUMBER", "5", 1);
  const auto config = Good(
      "routes:\n  - {id: a, uri: /a, upstream: {nodes: {}}, name: \"${SLUICE_TEST_NUMBER}\",\n"
      "     desc: \"$${SLUICE_TEST_NUMBER}-${SLUICE_TEST_NUMBER}\"}\n"
      "  - id: ${SLUICE_TEST_NUMBER}\n    uri: /b\n    priority: ${SLUICE_TEST_NUMBER}\n"
      "    upstream: {nodes: {}}\n");
  ASSERT_EQ(config->routes.size(), 2u);
  EXPECT_EQ(config->routes[0].name, "5");
  EXPECT_EQ(config->routes[0].desc, "${SLUICE_TEST_NUMBER}-5");
  EXPECT_EQ(config->routes[1].id, "5");
  EXPECT_EQ(config->routes[1].priority, 5);
  EXPECT_THAT(Problems("routes: [{id: a, uri: /a, upstream: {nodes: {}}, priority: "
                       "\"${SLUICE_TEST_NUMBER}\"}]\n"),
              HasSubstr("expected an integer from -2147483648 to 2147483647, got text put in for "
                        "${...}, not shown"));
}

TEST(LoadFileTest, NeverReadsStructureFromASubstitution) {
  setenv("SLUICE_TEST_HOSTILE", "x, priority: 9}\n- {", 1);
  EXPECT_THAT(Problems("routes:\n  - id: ${SLUICE_TEST_HOSTILE}\n    uri: /a\n"
                       "    upstream: {nodes: {}}\n"),
              HasSubstr("routes[0].id: expected 1 to 64 letters"));
}

TEST(LoadFileTest, CapsTheSizeOfSubstitutedFiles) {
  const TemporaryDirectory directory;
  directory.Write("big", std::string(1024 * 1024 + 1, 'x'));
  const std::string path = directory.Write(
      "a.yaml", "routes: [{id: a, uri: /a, upstream: {nodes: {}}, name: \"${file:big}\"}]\n");
  Diagnostics diagnostics;
  EXPECT_EQ(LoadFile(path, diagnostics), nullptr);
  EXPECT_THAT(diagnostics.ToText(), HasSubstr("big: expected at most 1048576 bytes"));
}

TEST(DecodeDocumentTest, YieldsTheSameConfiguration) {
  setenv("SLUICE_TEST_WEIGHT", "7", 1);
  for (const char* file :
       {"conf/sluice.yaml", "conf/examples/includes.yaml", "conf/examples/routing.yaml",
        "tests/golden/config/good_gateway.yaml", "tests/golden/config/good_substitution.yaml"}) {
    Diagnostics diagnostics;
    const auto config = LoadFile(file, diagnostics);
    ASSERT_NE(config, nullptr) << diagnostics.ToText();
    const std::string json = ToJson(config->document);
    const auto again = DecodeDocument(json, diagnostics);
    ASSERT_NE(again, nullptr) << diagnostics.ToText();
    EXPECT_EQ(ToJson(again->document), json);
    ASSERT_EQ(again->routes.size(), config->routes.size());
    for (size_t i = 0; i < config->routes.size(); ++i) {
      EXPECT_EQ(again->routes[i].id, config->routes[i].id);
      EXPECT_EQ(again->routes[i].uris, config->routes[i].uris);
      EXPECT_EQ(again->routes[i].hosts, config->routes[i].hosts);
      EXPECT_EQ(again->routes[i].upstream, config->routes[i].upstream);
    }
    ASSERT_EQ(again->upstreams.size(), config->upstreams.size());
    for (size_t i = 0; i < config->upstreams.size(); ++i) {
      EXPECT_EQ(again->upstreams[i].key, config->upstreams[i].key);
      EXPECT_EQ(again->upstreams[i].nodes.size(), config->upstreams[i].nodes.size());
    }
  }
}

TEST(DecodeDocumentTest, SaysWhatIsWrong) {
  Diagnostics diagnostics;
  EXPECT_EQ(DecodeDocument(R"({"routes": [{"id": "a", "uri": 5}]})", diagnostics), nullptr);
  EXPECT_THAT(diagnostics.ToText(), HasSubstr("<document>:1:32: error: routes[0].uri"));
  Diagnostics others;
  EXPECT_EQ(DecodeDocument("[]", others), nullptr);
  EXPECT_THAT(others.ToText(), HasSubstr("expected a map"));
}

TEST(DecodeDocumentTest, TakesDollarsAsTheyAre) {
  Diagnostics diagnostics;
  const auto config = DecodeDocument(
      R"({"routes": [{"id": "a", "uri": "/${HOME}", "upstream": {"nodes": {}}}]})", diagnostics);
  ASSERT_NE(config, nullptr) << diagnostics.ToText();
  EXPECT_THAT(config->routes[0].uris, ElementsAre("/${HOME}"));
}

// Every property of APISIX's objects is either decoded or refused by its own name, never unknown.
TEST(ApisixPropertiesTest, AreAllKnown) {
  std::ifstream file("tests/golden/config/apisix/properties.json");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  Diagnostics diagnostics;
  const Node objects = ParseJson(text, 0, diagnostics);
  ASSERT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  ASSERT_EQ(objects.entries.size(), 6u);
  const auto document = [](const std::string& object, const std::string& property) {
    const std::string field = "{\"" + property + "\": null}";
    if (object == "route") return "{\"routes\": [" + field + "]}";
    if (object == "service") return "{\"services\": [" + field + "]}";
    if (object == "upstream") return "{\"upstreams\": [" + field + "]}";
    if (object == "node") return "{\"upstreams\": [{\"nodes\": [" + field + "]}]}";
    return "{\"upstreams\": [{\"" + object + "\": " + field + "}]}";
  };
  for (const Entry& object : objects.entries) {
    for (const Node& property : object.value.items) {
      Diagnostics problems;
      EXPECT_EQ(DecodeDocument(document(object.key, property.text), problems), nullptr);
      const std::string all = problems.ToText();
      EXPECT_THAT(all, Not(HasSubstr("unknown field"))) << object.key;
      EXPECT_THAT(all, HasSubstr("." + property.text + ": ")) << object.key;
    }
    Diagnostics problems;
    EXPECT_EQ(DecodeDocument(document(object.key, "not_of_apisix"), problems), nullptr);
    EXPECT_THAT(problems.ToText(), HasSubstr("not_of_apisix: unknown field")) << object.key;
  }
}

// Linear in the number of objects: were it quadratic, this would not end in the test's time.
TEST(LoadFileTest, LoadsManyRoutes) {
  constexpr size_t kCount = 20'000;
  std::string text = "routes:\n";
  for (size_t i = 0; i < kCount; ++i) {
    const std::string number = std::to_string(i);
    text += "  - {uri: /" + number + ", upstream_id: " + std::to_string(i % 1000 + 1) + "}\n";
  }
  text += "upstreams:\n";
  for (size_t i = 1; i <= 1000; ++i) text += "  - {id: " + std::to_string(i) + ", nodes: {}}\n";
  EXPECT_EQ(Good(text)->routes.size(), kCount);
}

TEST(DiagnosticsTest, LocatesAndRendersJson) {
  Diagnostics diagnostics;
  const uint32_t file = diagnostics.AddSource("a.yaml", "x\ny");
  diagnostics.Add({file, 2, 1}, "p", "wrong \"y\"", "try z");
  EXPECT_EQ(diagnostics.Locate({file, 2, 1}), "a.yaml:2");
  EXPECT_EQ(diagnostics.Locate({file, 0, 0}), "a.yaml");
  EXPECT_EQ(diagnostics.Locate({9, 2, 1}), "");
  EXPECT_EQ(diagnostics.ToJson(),
            R"([{"file":"a.yaml","line":2,"column":1,"path":"p","message":"wrong \"y\"",)"
            R"("hint":"try z"}])");
}

TEST(DiagnosticsTest, SurvivesPositionsOutsideTheText) {
  Diagnostics diagnostics;
  const uint32_t file = diagnostics.AddSource("a", "x");
  diagnostics.Add({file, 7, 900}, "", "wrong");
  EXPECT_THAT(diagnostics.ToText(), HasSubstr("a:7:900: error: wrong"));
}

}  // namespace
}  // namespace sluice::conf
