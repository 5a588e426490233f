// A request of the gateway's own on behalf of a plugin: to an authorization service, a collector of
// logs. It goes to an upstream as clients' requests do, with its pool, TLS, checks and limits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/http/headers.h"

namespace sluice {

struct SubRequest {
  int32_t upstream = -1;  // what PluginBuild::UpstreamAt has given
  std::string method = "GET";
  std::string target = "/";  // path and query
  std::string host;          // for Host
  // All there are, besides Host and the framing of the body. Connection and its like are left out.
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  Duration limit = seconds(3);     // in all
  size_t most_body = 1024 * 1024;  // of the response; more is a failure
  // Nobody cares for the response: its body is not read, and a worker that ends does not wait.
  bool detached = false;
};

struct SubResponse {
  int status = 0;
  const HeaderList& fields;
  std::string_view body;
};

// Valid in the callback only. An error: there is no response, or not all of it.
using SubResponseCallback = std::function<void(const Result<SubResponse>& response)>;

// Sends on the loop thread. Keeps the configuration that its plugin belongs to, so it may be held
// on to for a while, not for good.
class SubRequestSender {
 public:
  virtual ~SubRequestSender() = default;
  // Calls back exactly once, later, whatever happens; only not when the worker ends before.
  virtual void Send(SubRequest request, SubResponseCallback done) = 0;
};

}  // namespace sluice
