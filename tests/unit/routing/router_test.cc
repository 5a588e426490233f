#include "gateway/routing/router.h"

#include <random>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/routing/test_request.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Texts = std::vector<std::string>;

// A configuration with routes added one by one; vars are owned here.
class RouterTest : public ::testing::Test {
 protected:
  conf::RouteConfig& Add(std::string id, Texts uris, Texts hosts = {}) {
    conf::RouteConfig& route = config_.routes.emplace_back();
    route.id = std::move(id);
    route.uris = std::move(uris);
    route.hosts = std::move(hosts);
    return route;
  }

  const conf::Node* Vars(std::string_view json) {
    conf::Diagnostics diagnostics;
    const uint32_t file = diagnostics.AddSource("vars", std::string(json));
    vars_.push_back(std::make_unique<conf::Node>(conf::ParseJson(json, file, diagnostics)));
    EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
    return vars_.back().get();
  }

  void Build() {
    conf::Diagnostics diagnostics;
    router_ = Router::Make(config_, diagnostics);
    ASSERT_NE(router_, nullptr) << diagnostics.ToText();
  }

  static std::string Id(const RouteMatch& match) { return match ? match.route->id : "-"; }

  std::string Match(std::string_view host, std::string_view target) {
    const TestRequest request("GET", host, target);
    return Match(request.view);
  }

  // The winner's id, and a check that explain finds the same.
  std::string Match(const RequestView& request) {
    if (router_ == nullptr) Build();
    const RouteMatch match = router_->Match(request);
    std::vector<RouteCandidate> candidates;
    EXPECT_EQ(router_->Explain(request, candidates).route, match.route);
    if (match) {
      EXPECT_EQ(candidates.back().route, match.route);
      EXPECT_EQ(candidates.back().failed, "");
      candidates.pop_back();
    }
    for (const RouteCandidate& candidate : candidates) EXPECT_NE(candidate.failed, "");
    return Id(match);
  }

  Texts Explain(const RequestView& request) {
    if (router_ == nullptr) Build();
    std::vector<RouteCandidate> candidates;
    (void)router_->Explain(request, candidates);
    Texts out;
    for (const auto& [route, pattern, failed] : candidates) {
      out.push_back(route->id + " | " + pattern + " | " + failed);
    }
    return out;
  }

  std::string Refuse() {
    conf::Diagnostics diagnostics;
    EXPECT_EQ(Router::Make(config_, diagnostics), nullptr);
    return diagnostics.list().empty() ? "" : diagnostics.list().front().message;
  }

  conf::Config config_;
  std::vector<std::unique_ptr<conf::Node>> vars_;
  std::unique_ptr<const Router> router_;
};

TEST_F(RouterTest, WithoutRoutesNothingMatches) { EXPECT_EQ(Match("h", "/"), "-"); }

TEST_F(RouterTest, PrefersExactPathThenLongerPrefix) {
  Add("all", {"/*"}).priority = 100;
  Add("foo", {"/foo/*"});
  Add("foobar", {"/foo/bar*"});
  Add("exact", {"/foo/bar"}).priority = -1;
  EXPECT_EQ(Match("h", "/foo/bar"), "exact");
  EXPECT_EQ(Match("h", "/foo/barn"), "foobar");
  EXPECT_EQ(Match("h", "/foo/x"), "foo");
  EXPECT_EQ(Match("h", "/foo/"), "foo");
  EXPECT_EQ(Match("h", "/foo"), "all");
  EXPECT_EQ(Match("h", "/"), "all");
  EXPECT_EQ(Match("h", "*"), "-");
}

TEST_F(RouterTest, FallsBackToShorterPrefixesWhenPredicatesFail) {
  Add("root", {"/*"});
  Add("a", {"/a*"}).methods = {"POST"};
  Add("ab", {"/ab"}).methods = {"PUT"};
  EXPECT_EQ(Match("h", "/ab"), "root");
  const TestRequest post("POST", "h", "/ab");
  EXPECT_EQ(Match(post.view), "a");
}

TEST_F(RouterTest, OrdersOnePathByPriorityThenLengthThenConfiguration) {
  Add("low", {"/a/*"});
  Add("first", {"/a/*"}).priority = 5;
  Add("second", {"/a/*"}).priority = 5;
  EXPECT_EQ(Match("h", "/a/1"), "first");

  config_.routes.clear();
  router_ = nullptr;
  Add("prefix", {"/a/*"});
  Add("parameter", {"/a/:id"});
  EXPECT_EQ(Match("h", "/a/1"), "parameter");
  EXPECT_EQ(Match("h", "/a/1/2"), "prefix");
}

TEST_F(RouterTest, PrefersExactHostThenLongestWildcardThenNoHost) {
  Add("none", {"/*"}).priority = 9;
  Add("any", {"/*"}, {"*"});
  Add("wild", {"/*"}, {"*.example.com"});
  Add("deep", {"/*"}, {"*.a.example.com"});
  Add("exact", {"/*"}, {"x.a.example.com"});
  EXPECT_EQ(Match("x.a.example.com", "/"), "exact");
  EXPECT_EQ(Match("y.a.example.com", "/"), "deep");
  EXPECT_EQ(Match("z.y.a.example.com", "/"), "deep");
  EXPECT_EQ(Match("a.example.com", "/"), "wild");
  EXPECT_EQ(Match("example.com", "/"), "any");
  EXPECT_EQ(Match("", "/"), "any");
}

TEST_F(RouterTest, FallsThroughToLessSpecificHosts) {
  Add("none", {"/none"});
  Add("wild", {"/wild"}, {"*.example.com"});
  Add("exact", {"/exact"}, {"a.example.com"});
  EXPECT_EQ(Match("a.example.com", "/exact"), "exact");
  EXPECT_EQ(Match("a.example.com", "/wild"), "wild");
  EXPECT_EQ(Match("a.example.com", "/none"), "none");
  EXPECT_EQ(Match("b.example.com", "/exact"), "-");
}

TEST_F(RouterTest, AWildcardWithoutADotIsAPlainSuffix) {
  Add("suffix", {"/*"}, {"*example.com"});
  EXPECT_EQ(Match("example.com", "/"), "suffix");
  EXPECT_EQ(Match("myexample.com", "/"), "suffix");
  EXPECT_EQ(Match("example.org", "/"), "-");
}

TEST_F(RouterTest, HostsOfTheConfigurationAreNormalised) {
  Add("a", {"/*"}, {"A.Example.com."});
  EXPECT_EQ(Match("a.example.com", "/"), "a");
}

TEST_F(RouterTest, AHostOverlongInTheRequestIsLookedUpSafely) {
  Add("any", {"/*"}, {"*.example.com"});
  EXPECT_EQ(Match(std::string(10'000, 'a') + ".example.com", "/"), "any");
}

TEST_F(RouterTest, SeveralUrisAndHostsAreOneRoute) {
  Add("r", {"/a", "/b/*"}, {"x.example", "*.y.example"});
  EXPECT_EQ(Match("x.example", "/a"), "r");
  EXPECT_EQ(Match("z.y.example", "/b/c"), "r");
  EXPECT_EQ(Match("y.example", "/a"), "-");
}

TEST_F(RouterTest, DisabledRoutesAreLeftOut) {
  Add("off", {"/a"}).enabled = false;
  EXPECT_EQ(Match("h", "/a"), "-");
}

TEST_F(RouterTest, MatchesMethods) {
  Add("r", {"/a"}).methods = {"GET", "PURGE", "BREW"};
  for (const char* allowed : {"GET", "PURGE", "BREW"}) {
    const TestRequest request(allowed, "h", "/a");
    EXPECT_EQ(Match(request.view), "r") << allowed;
  }
  for (const char* refused : {"HEAD", "POST", "brew", "get", "BREWS"}) {
    const TestRequest request(refused, "h", "/a");
    EXPECT_EQ(Match(request.view), "-") << refused;
  }
}

TEST_F(RouterTest, MatchesClientAddresses) {
  Add("r", {"/a"}).remote_addrs = {*Cidr::Make("10.0.0.0/8"), *Cidr::Make("::1")};
  for (const auto& [client, id] : {std::pair{"10.9.9.9", "r"}, {"::1", "r"}, {"11.0.0.1", "-"}}) {
    const TestRequest request("GET", "h", "/a", {}, client);
    EXPECT_EQ(Match(request.view), id) << client;
  }
}

TEST_F(RouterTest, MatchesVars) {
  Add("canary", {"/a"}).vars = Vars(R"([["http_x_canary","==","1"]])");
  Add("stable", {"/a"});
  const TestRequest canary("GET", "h", "/a", {{"X-Canary", "1"}});
  EXPECT_EQ(Match(canary.view), "canary");
  EXPECT_EQ(Match("h", "/a"), "stable");
  EXPECT_FALSE(router_->needs_body());
}

TEST_F(RouterTest, NeedsTheBodyWhenARouteComparesAFormField) {
  Add("r", {"/a"}).vars = Vars(R"([["post_arg_x","==","1"]])");
  Build();
  EXPECT_TRUE(router_->needs_body());
}

TEST_F(RouterTest, ExplainNamesTheFirstFailedPredicateOfEachCandidate) {
  Add("method", {"/a/b"}, {"a.example"}).methods = {"POST", "PUT"};
  Add("client", {"/a/*"}, {"*.example"}).remote_addrs = {*Cidr::Make("10.0.0.0/8")};
  Add("vars", {"/a/b"}).vars = Vars(R"([["arg_x","==","1"]])");
  Add("uri", {"/a/:id/c"});
  Add("winner", {"/*"});
  Add("elsewhere", {"/a/b"}, {"b.example"});
  const TestRequest request("GET", "a.example", "/a/b?x=2");
  EXPECT_THAT(Explain(request.view),
              ElementsAre("method | a.example /a/b | methods: GET is not one of POST, PUT",
                          "client | *.example /a/* | remote_addrs: 127.0.0.1 is not in 10.0.0.0/8",
                          "vars | /a/b | vars: arg_x == \"1\": got \"2\"",
                          "uri | /a/:id/c | uri: /a/b does not follow /a/:id/c", "winner | /* | "));
}

TEST_F(RouterTest, RefusesBadPatternsAndHosts) {
  Add("r", {"/a//b"});
  EXPECT_THAT(Refuse(), HasSubstr("could never match"));
  config_.routes.clear();
  Add("r", {"/a"}, {"a.example:8080"});
  EXPECT_THAT(Refuse(), HasSubstr("without port"));
  config_.routes.clear();
  Add("r", {"/a"}, {"a.*.example"});
  EXPECT_THAT(Refuse(), HasSubstr("only at the beginning"));
  config_.routes.clear();
  Add("r", {"/a"}).vars = Vars(R"([["arg_x","!=","1"]])");
  EXPECT_THAT(Refuse(), HasSubstr("expected an operator"));
}

TEST_F(RouterTest, ABracketedAddressIsAHost) {
  Add("r", {"/a"}, {"[::1]"});
  EXPECT_EQ(Match("[::1]", "/a"), "r");
}

TEST_F(RouterTest, DiagnosticsPointAtTheValue) {
  conf::Diagnostics parsing;
  const std::string text = R"({"routes":[{"uri":"/ok"},
 {"uris":["/ok",
          "/a?b"]}]})";
  const uint32_t file = parsing.AddSource("routes.json", text);
  config_.document = conf::ParseJson(text, file, parsing);
  Add("1", {"/ok"});
  Add("2", {"/ok", "/a?b"});
  conf::Diagnostics diagnostics;
  EXPECT_EQ(Router::Make(config_, diagnostics), nullptr);
  ASSERT_EQ(diagnostics.total(), 1U);
  EXPECT_EQ(diagnostics.list()[0].path, "routes[1].uris[1]");
  EXPECT_EQ(diagnostics.list()[0].position.line, 3U);
  EXPECT_EQ(diagnostics.list()[0].position.column, 11U);
}

TEST_F(RouterTest, HoldsAHundredThousandHosts) {
  constexpr int kRoutes = 100'000;
  config_.routes.reserve(kRoutes);
  for (int i = 0; i < kRoutes; ++i) {
    const std::string n = std::to_string(i);
    Add(n, {i % 2 == 0 ? "/api/*" : "/v1/things"},
        {(i % 10 == 0 ? "*.tenant" : "www.tenant") + n + ".example.com"});
  }
  Build();
  for (int i = 0; i < kRoutes; i += 997) {
    const std::string n = std::to_string(i);
    const std::string host = "www.tenant" + n + ".example.com";
    EXPECT_EQ(Match(host, i % 2 == 0 ? "/api/x" : "/v1/things"), n);
    EXPECT_EQ(Match(host, "/other"), "-");
  }
}

TEST_F(RouterTest, HoldsAHundredThousandPathsOfOneHost) {
  constexpr int kRoutes = 100'000;
  config_.routes.reserve(kRoutes);
  for (int i = 0; i < kRoutes; ++i) {
    const std::string n = std::to_string(i);
    Add(n, {i % 2 == 0 ? "/api/" + n + "/*" : "/api/" + n + "/:id/x"});
  }
  Build();
  for (int i = 0; i < kRoutes; i += 997) {
    const std::string n = std::to_string(i);
    EXPECT_EQ(Match("h", "/api/" + n + "/1/x"), n);
    EXPECT_EQ(Match("h", "/api/" + n), "-");
  }
}

// What the documentation says, route by route and byte by byte.
class Reference {
 public:
  static bool FollowsPath(std::string_view pattern, std::string_view path, bool segment_start) {
    if (pattern.empty()) return path.empty();
    if (pattern == "*") return true;
    if (segment_start && (pattern[0] == ':' || pattern[0] == '*')) {
      const bool is_star = pattern[0] == '*';
      const std::string_view rest = pattern.substr(std::min(pattern.find('/'), pattern.size()));
      for (size_t taken = is_star ? 0 : 1; taken <= path.size(); ++taken) {
        if (!is_star && path[taken - 1] == '/') return false;
        if (FollowsPath(rest, path.substr(taken), false)) return true;
      }
      return false;
    }
    return !path.empty() && pattern[0] == path[0] &&
           FollowsPath(pattern.substr(1), path.substr(1), pattern[0] == '/');
  }

  // -1: does not match; otherwise larger is more specific.
  static int HostRank(std::string_view pattern, std::string_view host) {
    if (pattern.empty()) return 0;
    if (pattern[0] != '*') return pattern == host ? 1000 : -1;
    const std::string_view suffix = pattern.substr(1);
    if (host.size() < suffix.size()) return -1;
    return host.substr(host.size() - suffix.size()) == suffix ? 1 + static_cast<int>(suffix.size())
                                                              : -1;
  }

  static size_t LiteralSize(std::string_view pattern) {
    return std::min(
        {pattern.find("/:") == std::string_view::npos ? pattern.size() : pattern.find("/:") + 1,
         pattern.find('*'), pattern.size()});
  }

  // `vars` of the generated routes are all: arg_v == "1".
  static bool Accepts(const conf::RouteConfig& route, const RequestView& request) {
    const auto& methods = route.methods;
    return route.enabled &&
           (methods.empty() || std::find(methods.begin(), methods.end(),
                                         request.head->method_text) != methods.end()) &&
           (route.vars == nullptr || request.query() == "v=1");
  }

  static std::string Find(const conf::Config& config, const RequestView& request) {
    using Rank = std::tuple<int, bool, size_t, int32_t, size_t, int>;
    std::optional<Rank> best;
    std::string id = "-";
    for (size_t i = 0; i < config.routes.size(); ++i) {
      const conf::RouteConfig& route = config.routes[i];
      if (!Accepts(route, request)) continue;
      for (const std::string& host : route.hosts.empty() ? Texts{""} : route.hosts) {
        for (const std::string& uri : route.uris) {
          const int host_rank = HostRank(host, request.host);
          if (host_rank < 0 || !FollowsPath(uri, request.path, false)) continue;
          const size_t literal = LiteralSize(uri);
          const Rank rank(host_rank, literal == uri.size(), literal, route.priority, uri.size(),
                          -static_cast<int>(i));
          if (best && rank <= *best) continue;
          best = rank;
          id = route.id;
        }
      }
    }
    return id;
  }
};

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }
  template <size_t N>
  std::string Pick(const char* const (&choices)[N]) {
    return choices[Below(N)];
  }

  std::string Host() {
    static constexpr const char* kHosts[] = {"a.x", "b.x", "x", "c.a.x", "ba.x", "d", ""};
    return Pick(kHosts);
  }
  std::string HostPattern() {
    static constexpr const char* kHosts[] = {"a.x",  "b.x",   "x", "c.a.x", "*.x",
                                             "*a.x", "*.a.x", "*", "d"};
    return Pick(kHosts);
  }
  std::string Path() {
    static constexpr const char* kSegments[] = {"a", "b", "ab", "abc"};
    std::string path;
    for (int i = Below(4); i >= 0; --i) path += "/" + Pick(kSegments);
    return Below(4) == 0 ? path + "/" : path;
  }
  std::string Uri() {
    static constexpr const char* kSegments[] = {"a", "b", "ab", ":x", ":y"};
    std::string uri;
    const int star = Below(6);  // the segment that is a "*name", if there are so many
    for (int i = 0, size = 1 + Below(4); i < size; ++i) {
      uri += "/" + (i == star ? Below(2) == 0 ? "*" : "*n" : Pick(kSegments));
    }
    if (uri.find('*') != std::string::npos || uri.find("/:") != std::string::npos) return uri;
    static constexpr const char* kEnds[] = {"", "/", "*", "/*"};
    return uri + Pick(kEnds);
  }

 private:
  std::mt19937 random_;
};

TEST_F(RouterTest, AgreesWithALinearSearchOverRandomRoutes) {
  const conf::Node* vars = Vars(R"([["arg_v","==","1"]])");
  int matched = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    Generator random(seed);
    config_.routes.clear();
    router_ = nullptr;
    for (int i = random.Below(30); i >= 0; --i) {
      conf::RouteConfig& route = Add(std::to_string(i), {random.Uri()});
      if (random.Below(3) == 0) route.uris.push_back(random.Uri());
      if (random.Below(2) == 0) route.hosts = {random.HostPattern()};
      if (random.Below(5) == 0) route.hosts.push_back(random.HostPattern());
      if (random.Below(3) == 0) route.methods = {"POST"};
      if (random.Below(3) == 0) route.vars = vars;
      route.enabled = random.Below(8) != 0;
      route.priority = random.Below(3) - 1;
    }
    for (int i = 0; i < 100; ++i) {
      const TestRequest request(random.Below(2) == 0 ? "GET" : "POST", random.Host(),
                                random.Path() + (random.Below(2) == 0 ? "?v=1" : ""));
      const std::string expected = Reference::Find(config_, request.view);
      ASSERT_EQ(Match(request.view), expected)
          << "seed " << seed << ", " << request.view.host << " " << request.view.path;
      matched += expected == "-" ? 0 : 1;
    }
  }
  EXPECT_GT(matched, 10'000);  // the generator hits often enough to mean something
}

}  // namespace
}  // namespace sluice
