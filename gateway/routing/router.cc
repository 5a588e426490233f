#include "gateway/routing/router.h"

#include <algorithm>
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

constexpr uint16_t kAnyMethod = UINT16_MAX;

uint16_t MethodBit(Method method) {
  static_assert(static_cast<size_t>(Method::kCount) < 16);
  return static_cast<uint16_t>(1U << static_cast<unsigned>(method));
}

// What a route asks beyond path and known methods.
struct Conditions {
  const conf::RouteConfig* config = nullptr;
  std::unique_ptr<const Expression> vars;

  bool AllowsMethodText(std::string_view method) const {
    return std::find(config->methods.begin(), config->methods.end(), method) !=
           config->methods.end();
  }
  bool AllowsClient(const IpAddress& ip) const {
    const auto& ranges = config->remote_addrs;
    return ranges.empty() || std::any_of(ranges.begin(), ranges.end(),
                                         [&](const Cidr& range) { return range.Contains(ip); });
  }
};

// One uri of one route under one host. Candidates of one host and one exact path, or one literal
// prefix, lie side by side, best first. A plain match touches nothing of the route but this, which
// is one cache line.
struct alignas(64) Candidate {
  const conf::RouteConfig* config = nullptr;
  PathPattern pattern;
  uint32_t host = 0;
  uint32_t conditions = kNone;  // kNone: the route asks for no more
  int32_t upstream = -1;
  uint16_t methods = kAnyMethod;
  bool has_timeout = false;
  bool enable_websocket = false;
  bool is_last = false;  // of those with its host and path

  RouteMatch Match() const { return {config, upstream, has_timeout, enable_websocket}; }
};

static_assert(sizeof(Candidate) == 64);

template <typename Items, typename Text>
std::string Join(const Items& items, Text text) {
  std::string out;
  for (const auto& item : items) out.append(out.empty() ? "" : ", ").append(text(item));
  return out;
}

// The text of the first predicate that failed goes to `failed`, if given.
bool Accepts(const Candidate& candidate, const std::vector<Conditions>& all,
             const RequestView& request, std::string* failed) {
  const auto refuse = [&](auto text) {
    if (failed != nullptr) *failed = text();
    return false;
  };
  const PathPattern& pattern = candidate.pattern;
  if (!pattern.Matches(request.path)) {
    return refuse([&] {
      return "uri: " + std::string(request.path) + " does not follow " + std::string(pattern.text);
    });
  }
  const Conditions* conditions =
      candidate.conditions == kNone ? nullptr : &all[candidate.conditions];
  const RequestHead& head = *request.head;
  if ((candidate.methods & MethodBit(head.method)) == 0 ||
      (head.method == Method::kOther && candidate.methods != kAnyMethod &&
       !conditions->AllowsMethodText(head.method_text))) {
    return refuse([&] {
      return "methods: " + std::string(head.method_text) + " is not one of " +
             Join(candidate.config->methods, [](const std::string& method) { return method; });
    });
  }
  if (conditions == nullptr) return true;
  if (!conditions->AllowsClient(request.client_ip)) {
    return refuse([&] {
      return "remote_addrs: " + request.client_ip.ToString() + " is not in " +
             Join(candidate.config->remote_addrs,
                  [](const Cidr& range) { return range.ToString(); });
    });
  }
  if (conditions->vars == nullptr || conditions->vars->Matches(request, failed)) return true;
  return refuse([&] { return "vars: " + *failed; });
}

}  // namespace

struct Router::Index {
  std::vector<Candidate> candidates;   // by host and path
  std::vector<Conditions> conditions;  // of the routes that have some
  HashIndex exact;                     // first candidates by host and path
  PathTree prefixes;                   // first candidates by literal prefix, a tree for each host
  std::vector<uint32_t> roots;         // of those trees, by host; kNone: the host has none
  HostIndex hosts;
  Arena texts;  // patterns whose normal form is not as written
  bool needs_body = false;

  RouteMatch Search(const RequestView& request, std::vector<RouteCandidate>* explained) const;
  RouteMatch SearchFrom(uint32_t first, const RequestView& request,
                        std::vector<RouteCandidate>* explained) const;

  struct Builder;
};

// The candidates that share the host and path of the first one.
RouteMatch Router::Index::SearchFrom(uint32_t first, const RequestView& request,
                                     std::vector<RouteCandidate>* explained) const {
  for (size_t i = first;; ++i) {
    const Candidate& candidate = candidates[i];
    std::string failed;
    const bool accepted =
        Accepts(candidate, conditions, request, explained == nullptr ? nullptr : &failed);
    if (explained != nullptr) {
      std::string pattern(hosts.pattern(candidate.host));
      pattern.append(pattern.empty() ? "" : " ").append(candidate.pattern.text);
      explained->push_back({candidate.config, std::move(pattern), std::move(failed)});
    }
    if (accepted) return candidate.Match();
    if (candidate.is_last) return {};
  }
}

RouteMatch Router::Index::Search(const RequestView& request,
                                 std::vector<RouteCandidate>* explained) const {
  const uint64_t path_hash = HashIndex::Hash(request.path);
  HostIndex::Cursor cursor(hosts, request.host);
  for (uint32_t host = cursor.Next(); host != kNone; host = cursor.Next()) {
    const uint32_t found = exact.Find(HashIndex::Combine(path_hash, host), [&](uint32_t first) {
      return candidates[first].host == host && candidates[first].pattern.text == request.path;
    });
    if (found != kNone) {
      if (const RouteMatch match = SearchFrom(found, request, explained)) return match;
    }
    if (roots[host] == kNone) continue;
    for (uint32_t node = prefixes.FindLongest(roots[host], request.path); node != PathTree::kNone;
         node = prefixes.Shorter(node)) {
      const RouteMatch match = SearchFrom(prefixes.value(node), request, explained);
      if (match) return match;
    }
  }
  return {};
}

// Compiles the routes, then lays all their candidates out in the order of the search.
struct Router::Index::Builder {
  const conf::Config& config;
  conf::Diagnostics& diagnostics;
  Index& index;
  std::vector<PathTree::Key> keys = {};  // of the host in hand

  void AddRoute(size_t number) {
    const conf::RouteConfig& route = config.routes[number];
    const std::string path = "routes[" + std::to_string(number) + "]";
    Candidate candidate;
    candidate.config = &route;
    candidate.upstream = route.upstream;
    candidate.has_timeout = route.timeout.has_value();
    candidate.enable_websocket = route.enable_websocket;
    candidate.methods = route.methods.empty() ? kAnyMethod : uint16_t{0};
    for (const std::string& method : route.methods) {
      candidate.methods |= MethodBit(FindMethod(method));
    }
    candidate.conditions = AddConditions(route, candidate.methods, path);

    const std::vector<uint32_t> numbers = AddHosts(number, path);
    for (size_t i = 0; i < route.uris.size(); ++i) {
      const auto pattern = PathPattern::Make(route.uris[i], index.texts);
      if (!pattern) {
        const auto [position, name] = Locate(number, "uri", route.uris[i], i);
        diagnostics.Add(position, path + "." + name, pattern.error().detail);
        continue;
      }
      candidate.pattern = *pattern;
      for (const uint32_t host : numbers) {
        candidate.host = host;
        index.candidates.push_back(candidate);
      }
    }
  }

  uint32_t AddConditions(const conf::RouteConfig& route, uint16_t methods,
                         const std::string& path) {
    const bool has_other_method =
        methods != kAnyMethod && (methods & MethodBit(Method::kOther)) != 0;
    if (route.vars == nullptr && route.remote_addrs.empty() && !has_other_method) return kNone;
    Conditions made;
    made.config = &route;
    if (route.vars != nullptr) {
      made.vars = Expression::Make(*route.vars, path + ".vars", diagnostics);
      index.needs_body = index.needs_body || (made.vars && made.vars->needs_body());
    }
    index.conditions.push_back(std::move(made));
    return static_cast<uint32_t>(index.conditions.size() - 1);
  }

  std::vector<uint32_t> AddHosts(size_t number, const std::string& path) {
    const conf::RouteConfig& route = config.routes[number];
    if (route.hosts.empty()) return {HostIndex::kAnyHost};
    std::vector<uint32_t> numbers;
    for (size_t i = 0; i < route.hosts.size(); ++i) {
      const auto host = index.hosts.Add(route.hosts[i]);
      if (host) {
        numbers.push_back(*host);
        continue;
      }
      const auto [position, name] = Locate(number, "host", route.hosts[i], i);
      diagnostics.Add(position, path + "." + name, host.error().detail);
    }
    return numbers;
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

  static bool IsExact(const Candidate& candidate) {
    return candidate.pattern.kind == PathPattern::Kind::kExact;
  }

  // The documented order. Host and path come first, so that what shares them is one stretch; in it
  // by priority, then the longer pattern, then as configured (routes stand in one array).
  void Layout() {
    auto& all = index.candidates;
    std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
      const auto rank = [](const Candidate& c) {
        return std::tuple(c.host, !IsExact(c), c.pattern.key(), -int64_t{c.config->priority},
                          -static_cast<int64_t>(c.pattern.text.size()), c.config);
      };
      return rank(a) < rank(b);
    });
    index.roots.assign(index.hosts.size(), kNone);
    for (size_t i = 0; i < all.size(); ++i) {
      const bool is_new_host = i == 0 || all[i - 1].host != all[i].host;
      if (is_new_host && i > 0) PlantTree(all[i - 1].host);
      if (is_new_host || IsExact(all[i - 1]) != IsExact(all[i]) ||
          all[i - 1].pattern.key() != all[i].pattern.key()) {
        if (i > 0) all[i - 1].is_last = true;
        AddFirst(static_cast<uint32_t>(i));
      }
    }
    if (all.empty()) return;
    all.back().is_last = true;
    PlantTree(all.back().host);
  }

  void AddFirst(uint32_t number) {
    const Candidate& first = index.candidates[number];
    const std::string_view key = first.pattern.key();
    if (IsExact(first)) {
      index.exact.Insert(HashIndex::Combine(HashIndex::Hash(key), first.host), number);
    } else {
      keys.push_back({key, number});
    }
  }

  // Makes the tree of a host whose prefixes have all been seen.
  void PlantTree(uint32_t host) {
    if (keys.empty()) return;
    index.roots[host] = index.prefixes.Add(keys);
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
  builder.Layout();
  return router;
}

RouteMatch Router::Match(const RequestView& request) const {
  return index_->Search(request, nullptr);
}

RouteMatch Router::Explain(const RequestView& request,
                           std::vector<RouteCandidate>& candidates) const {
  return index_->Search(request, &candidates);
}

bool Router::needs_body() const { return index_->needs_body; }

}  // namespace sluice
