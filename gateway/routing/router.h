// Finds the route of a request. Built once for a snapshot from all its routes, then only read. The
// cost of a look-up does not depend on the number of routes: host index, then exact path, then
// longest prefix (APISIX's order), then priority among the routes of one path.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/resources.h"
#include "gateway/http/request_view.h"

namespace sluice {

struct RouteMatch {
  const conf::RouteConfig* route = nullptr;  // null: no route
  // Of the route, so that a request need not touch it: with many routes that is a cache miss.
  int32_t upstream = -1;
  bool has_timeout = false;
  bool enable_websocket = false;
  explicit operator bool() const { return route != nullptr; }
};

// One candidate of an explained look-up, in the order of the attempt.
struct RouteCandidate {
  const conf::RouteConfig* route = nullptr;
  std::string pattern;  // the host and uri that made it a candidate
  std::string failed;   // the first predicate that failed; empty for the winner
};

class Router {
 public:
  // `config` must outlive the router. Null when `diagnostics` was added to (bad vars, bad pattern).
  static std::unique_ptr<const Router> Make(const conf::Config& config,
                                            conf::Diagnostics& diagnostics);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  RouteMatch Match(const RequestView& request) const;

  // The same search, with every candidate that was looked at. The winner, if any, comes last.
  RouteMatch Explain(const RequestView& request, std::vector<RouteCandidate>& candidates) const;

  bool needs_body() const;  // some route compares a post_arg_ variable

 private:
  struct Index;
  Router();
  std::unique_ptr<Index> index_;
};

}  // namespace sluice
