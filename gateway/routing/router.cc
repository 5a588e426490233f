#include "gateway/routing/router.h"

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

#include "gateway/base/arena.h"
#include "gateway/base/text.h"
#include "gateway/routing/expression.h"
#include "gateway/routing/hash_index.h"
#include "gateway/routing/host_index.h"
#include "gateway/routing/path_pattern.h"
#include "gateway/routing/path_tree.h"

namespace sluice {

namespace {

constexpr uint32_t kNone = HashIndex::kNone;

uint16_t MethodBit(Method method) {
  static_assert(static_cast<size_t>(Method::kCount) <= 16);
  return static_cast<uint16_t>(1U << static_cast<unsigned>(method));
}

// A route with its predicates made ready.
struct CompiledRoute {
  const conf::RouteConfig* config = nullptr;
  std::unique_ptr<const Expression> vars;
  uint16_t methods = 0;  // set of MethodBit; 0: any

  bool AllowsMethod(const RequestHead& head) const {
    if (methods == 0) return true;
    if ((methods & MethodBit(head.method)) == 0) return false;
    if (head.method != Method::kOther) return true;
    return std::find(config->methods.begin(), config->methods.end(), head.method_text) !=
           config->methods.end();
  }

  bool AllowsClient(const IpAddress& ip) const {
    const auto& ranges = config->remote_addrs;
    return ranges.empty() || std::any_of(ranges.begin(), ranges.end(),
                                         [&](const Cidr& range) { return range.Contains(ip); });
  }
};

// One uri of one route under one host.
struct Candidate {
  uint32_t route = 0;
  PathPattern pattern;
};

// The candidates of one host and one exact path, or one literal prefix, best first.
struct Bucket {
  std::string_view key;
  uint32_t host = 0;
  uint32_t first = 0;
  uint32_t size = 0;
};

struct Placed {
  uint32_t host;
  bool is_exact;
  Candidate candidate;
};

template <typename Items, typename Text>
std::string Join(const Items& items, Text text) {
  std::string out;
  for (const auto& item : items) out.append(out.empty() ? "" : ", ").append(text(item));
  return out;
}

// The first predicate of the route that the request fails; its text goes to `failed`, if given.
bool Accepts(const CompiledRoute& route, const PathPattern& pattern, const RequestView& request,
             std::string* failed) {
  const auto refuse = [&](auto text) {
    if (failed != nullptr) *failed = text();
    return false;
  };
  if (!pattern.Matches(request.path)) {
    return refuse([&] {
      return "uri: " + std::string(request.path) + " does not follow " + std::string(pattern.text);
    });
  }
  if (!route.AllowsMethod(*request.head)) {
    return refuse([&] {
      return "methods: " + std::string(request.head->method_text) + " is not one of " +
             Join(route.config->methods, [](const std::string& method) { return method; });
    });
  }
  if (!route.AllowsClient(request.client_ip)) {
    return refuse([&] {
      return "remote_addrs: " + request.client_ip.ToString() + " is not in " +
             Join(route.config->remote_addrs, [](const Cidr& range) { return range.ToString(); });
    });
  }
  if (route.vars == nullptr || route.vars->Matches(request, failed)) return true;
  if (failed != nullptr) *failed = "vars: " + *failed;
  return false;
}

}  // namespace

struct Router::Index {
  std::vector<CompiledRoute> routes;
  std::vector<Candidate> candidates;  // in the order of their buckets
  std::vector<Bucket> buckets;
  HashIndex exact;              // buckets by host and path
  PathTree prefixes;            // buckets by literal prefix, a tree for each host
  std::vector<uint32_t> roots;  // of those trees, by host; kNone: the host has none
  HostIndex hosts;
  Arena texts;  // patterns whose normal form is not as written
  bool needs_body = false;

  static uint64_t ExactHash(uint64_t path_hash, uint32_t host) {
    return HashIndex::Combine(path_hash, host);
  }

  const CompiledRoute* Search(const RequestView& request,
                              std::vector<RouteCandidate>* explained) const;
  const CompiledRoute* SearchBucket(const Bucket& bucket, const RequestView& request,
                                    std::vector<RouteCandidate>* explained) const;

  struct Builder;
};

const CompiledRoute* Router::Index::SearchBucket(const Bucket& bucket, const RequestView& request,
                                                 std::vector<RouteCandidate>* explained) const {
  for (const Candidate& candidate :
       std::span<const Candidate>(candidates).subspan(bucket.first, bucket.size)) {
    const CompiledRoute& route = routes[candidate.route];
    if (explained == nullptr) {
      if (Accepts(route, candidate.pattern, request, nullptr)) return &route;
      continue;
    }
    std::string failed;
    const bool accepted = Accepts(route, candidate.pattern, request, &failed);
    std::string pattern(hosts.pattern(bucket.host));
    pattern.append(pattern.empty() ? "" : " ").append(candidate.pattern.text);
    explained->push_back({route.config, std::move(pattern), std::move(failed)});
    if (accepted) return &route;
  }
  return nullptr;
}

const CompiledRoute* Router::Index::Search(const RequestView& request,
                                           std::vector<RouteCandidate>* explained) const {
  const uint64_t path_hash = HashIndex::Hash(request.path);
  HostIndex::Cursor cursor(hosts, request.host);
  for (uint32_t host = cursor.Next(); host != kNone; host = cursor.Next()) {
    const uint32_t exact_bucket = exact.Find(ExactHash(path_hash, host), [&](uint32_t number) {
      return buckets[number].host == host && buckets[number].key == request.path;
    });
    if (exact_bucket != kNone) {
      const CompiledRoute* route = SearchBucket(buckets[exact_bucket], request, explained);
      if (route != nullptr) return route;
    }
    if (roots[host] == kNone) continue;
    for (uint32_t node = prefixes.FindLongest(roots[host], request.path); node != PathTree::kNone;
         node = prefixes.Shorter(node)) {
      const Bucket& bucket = buckets[prefixes.value(node)];
      const CompiledRoute* route = SearchBucket(bucket, request, explained);
      if (route != nullptr) return route;
    }
  }
  return nullptr;
}

// Compiles the routes, then lays all their candidates out in the order of the search.
struct Router::Index::Builder {
  const conf::Config& config;
  conf::Diagnostics& diagnostics;
  Index& index;
  std::vector<Placed> placed = {};
  std::vector<PathTree::Key> keys = {};  // of the host in hand
  bool was_exact = true;                 // the last bucket

  void AddRoute(size_t number) {
    const conf::RouteConfig& route = config.routes[number];
    const std::string path = "routes[" + std::to_string(number) + "]";
    CompiledRoute compiled;
    compiled.config = &route;
    for (const std::string& method : route.methods)
      compiled.methods |= MethodBit(FindMethod(method));
    if (route.vars != nullptr) {
      compiled.vars = Expression::Make(*route.vars, path + ".vars", diagnostics);
      index.needs_body = index.needs_body || (compiled.vars && compiled.vars->needs_body());
    }
    const auto compiled_number = static_cast<uint32_t>(index.routes.size());
    index.routes.push_back(std::move(compiled));

    const std::vector<uint32_t> hosts = AddHosts(number, path);
    for (size_t i = 0; i < route.uris.size(); ++i) {
      const auto pattern = PathPattern::Make(route.uris[i], index.texts);
      if (!pattern) {
        const auto [position, name] = Locate(number, "uri", route.uris[i], i);
        diagnostics.Add(position, path + "." + name, pattern.error().detail);
        continue;
      }
      for (const uint32_t host : hosts) {
        placed.push_back(
            {host, pattern->kind == PathPattern::Kind::kExact, {compiled_number, *pattern}});
      }
    }
  }

  std::vector<uint32_t> AddHosts(size_t number, const std::string& path) {
    const conf::RouteConfig& route = config.routes[number];
    if (route.hosts.empty()) return {HostIndex::kAnyHost};
    std::vector<uint32_t> hosts;
    for (size_t i = 0; i < route.hosts.size(); ++i) {
      const auto host = index.hosts.Add(route.hosts[i]);
      if (host) {
        hosts.push_back(*host);
        continue;
      }
      const auto [position, name] = Locate(number, "host", route.hosts[i], i);
      diagnostics.Add(position, path + "." + name, host.error().detail);
    }
    return hosts;
  }

  // Where a uri or host stands in the document: "uri" or "uris[1]". Of the route, when the value
  // came from elsewhere (a host from the route's service).
  std::pair<conf::Position, std::string> Locate(size_t number, const std::string& field,
                                                std::string_view value, size_t i) const {
    const conf::Position fallback = config.routes[number].position;
    const conf::Node* routes = config.document.Find("routes");
    if (routes == nullptr || number >= routes->items.size()) return {fallback, field};
    const conf::Node& route = routes->items[number];
    const conf::Node* one = route.Find(field);
    if (one != nullptr && EqualsIgnoreCase(one->text, value)) return {one->position, field};
    const std::string plural = field + "s";
    const conf::Node* many = route.Find(plural);
    if (many == nullptr) return {fallback, field};
    for (size_t at = 0; at < many->items.size(); ++at) {
      if (!EqualsIgnoreCase(many->items[at].text, value)) continue;
      return {many->items[at].position, plural + "[" + std::to_string(at) + "]"};
    }
    return {fallback, plural + "[" + std::to_string(i) + "]"};
  }

  // The documented order: host and path first, so that a bucket is one stretch; in it by priority,
  // then the longer pattern, then as configured.
  void Layout() {
    std::sort(placed.begin(), placed.end(), [&](const Placed& a, const Placed& b) {
      const auto rank = [&](const Placed& p) {
        return std::tuple(p.host, !p.is_exact, p.candidate.pattern.key(),
                          -int64_t{index.routes[p.candidate.route].config->priority},
                          -static_cast<int64_t>(p.candidate.pattern.text.size()),
                          p.candidate.route);
      };
      return rank(a) < rank(b);
    });
    index.candidates.reserve(placed.size());
    for (const Placed& p : placed) {
      const std::string_view key = p.candidate.pattern.key();
      const bool is_new = index.candidates.empty() || was_exact != p.is_exact ||
                          index.buckets.back().host != p.host || index.buckets.back().key != key;
      if (is_new) OpenBucket(p, key);
      index.candidates.push_back(p.candidate);
      ++index.buckets.back().size;
    }
    PlantTree();
  }

  void OpenBucket(const Placed& p, std::string_view key) {
    if (!index.buckets.empty() && index.buckets.back().host != p.host) PlantTree();
    const auto number = static_cast<uint32_t>(index.buckets.size());
    index.buckets.push_back({key, p.host, static_cast<uint32_t>(index.candidates.size()), 0});
    if (p.is_exact) {
      index.exact.Insert(ExactHash(HashIndex::Hash(key), p.host), number);
    } else {
      keys.push_back({key, number});
    }
    was_exact = p.is_exact;
  }

  // Makes the tree of the host whose prefixes have all been seen.
  void PlantTree() {
    if (keys.empty()) return;
    index.roots[index.buckets[keys.front().value].host] = index.prefixes.Add(keys);
    keys.clear();
  }
};

Router::Router() = default;
Router::~Router() = default;

std::unique_ptr<const Router> Router::Make(const conf::Config& config,
                                           conf::Diagnostics& diagnostics) {
  const size_t before = diagnostics.total();
  auto router = std::unique_ptr<Router>(new Router());
  router->index_ = std::make_unique<Index>();
  Index::Builder builder{config, diagnostics, *router->index_};
  for (size_t i = 0; i < config.routes.size(); ++i) {
    if (config.routes[i].enabled) builder.AddRoute(i);
  }
  if (diagnostics.total() != before) return nullptr;
  router->index_->roots.assign(router->index_->hosts.size(), kNone);
  builder.Layout();
  return router;
}

RouteMatch Router::Match(const RequestView& request) const {
  const CompiledRoute* route = index_->Search(request, nullptr);
  return {route == nullptr ? nullptr : route->config};
}

RouteMatch Router::Explain(const RequestView& request,
                           std::vector<RouteCandidate>& candidates) const {
  const CompiledRoute* route = index_->Search(request, &candidates);
  return {route == nullptr ? nullptr : route->config};
}

bool Router::needs_body() const { return index_->needs_body; }

}  // namespace sluice
