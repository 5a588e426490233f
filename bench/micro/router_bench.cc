// One look-up among 1 to 100,000 routes, in three shapes of configuration: a host for each route,
// exact paths of one host, and prefixes of one host. Requests go round a shuffled list, so that the
// routes are not always in the cache.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "gateway/routing/router.h"

namespace sluice {
namespace {

enum class Shape { kHosts, kExact, kPrefixes };

struct Routes {
  conf::Config config;
  std::vector<std::string> hosts;
  std::vector<std::string> paths;
};

Routes MakeRoutes(Shape shape, size_t count) {
  Routes out;
  for (size_t i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    conf::RouteConfig& route = out.config.routes.emplace_back();
    route.id = n;
    switch (shape) {
      case Shape::kHosts:
        route.hosts = {"www.tenant" + n + ".example.com"};
        route.uris = {"/*"};
        out.paths.push_back("/index.html");
        out.hosts.push_back(route.hosts[0]);
        continue;
      case Shape::kExact:
        route.uris = {"/api/v1/service" + n + "/items"};
        out.paths.push_back(route.uris[0]);
        break;
      case Shape::kPrefixes:
        route.uris = {"/api/v1/service" + n + "/*"};
        out.paths.push_back("/api/v1/service" + n + "/items/42");
        break;
    }
    out.hosts.emplace_back("api.example.com");
  }
  return out;
}

void Match(benchmark::State& state, Shape shape) {
  const auto count = static_cast<size_t>(state.range(0));
  const Routes routes = MakeRoutes(shape, count);
  conf::Diagnostics diagnostics;
  const auto router = Router::Make(routes.config, diagnostics);
  RequestHead head;
  head.method = Method::kGet;
  RequestView request;
  request.head = &head;
  size_t at = 0;
  for (auto _ : state) {
    request.host = routes.hosts[at];
    request.path = routes.paths[at];
    const RouteMatch match = router->Match(request);
    if (!match) state.SkipWithError("no route was found");
    at = (at + 7919) % count;
  }
}

void Build(benchmark::State& state, Shape shape) {
  const Routes routes = MakeRoutes(shape, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    conf::Diagnostics diagnostics;
    benchmark::DoNotOptimize(Router::Make(routes.config, diagnostics));
  }
}

#define SLUICE_ROUTES Arg(1)->Arg(100)->Arg(10'000)->Arg(100'000)
BENCHMARK_CAPTURE(Match, hosts, Shape::kHosts)->SLUICE_ROUTES;
BENCHMARK_CAPTURE(Match, exact, Shape::kExact)->SLUICE_ROUTES;
BENCHMARK_CAPTURE(Match, prefixes, Shape::kPrefixes)->SLUICE_ROUTES;
BENCHMARK_CAPTURE(Build, hosts, Shape::kHosts)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, exact, Shape::kExact)->Arg(100'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Build, prefixes, Shape::kPrefixes)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice
