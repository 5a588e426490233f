// What `sluice explain` and `sluice routes` print. Pure functions of a snapshot: explain normalises
// its request and searches with the same code as the workers, so that the two cannot drift.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/result.h"
#include "gateway/snapshot/snapshot.h"

namespace sluice {

struct ExplainInput {
  std::string method = "GET";
  std::string url = {};  // "https://host/path?query", or "/path?query" with a Host among `headers`
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string client_ip = {};  // of the connection; empty: 127.0.0.1
};

// The normalised request, the candidate routes in order with the first predicate that failed, the
// winner with file and line, and its upstream; as text or JSON. A request that a worker would
// refuse is the error with which it would.
Result<std::string> ExplainRequest(const Snapshot& snapshot, const ExplainInput& input, bool json);

// All routes: id, uris, hosts, methods, priority, status, upstream, file and line.
std::string ListRoutes(const conf::Config& config, bool json);

}  // namespace sluice
