// How the nodes of an upstream are watched: checks that are sent to them (active), what is seen of
// their answers to clients (passive), and when they are ejected for a while. APISIX's fields and
// defaults; the ejection is ours. Part of UpstreamConfig.
#pragma once

#include <bitset>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "gateway/base/time.h"

namespace sluice::conf {

using StatusSet = std::bitset<600>;

inline StatusSet StatusesOf(std::initializer_list<size_t> statuses) {
  StatusSet set;
  for (const size_t status : statuses) set.set(status);
  return set;
}

enum class CheckType : uint8_t { kHttp, kHttps, kTcp };

// What counts for and against a node, and how often in a row it has to.
struct HealthRules {
  StatusSet healthy_statuses, unhealthy_statuses;  // any other says nothing
  // Of a passive check 0: is not counted.
  uint8_t successes = 2;
  uint8_t http_failures = 5;
  uint8_t tcp_failures = 2;
  uint8_t timeouts = 3;
};

struct ActiveCheck {
  CheckType type = CheckType::kHttp;
  Duration timeout = seconds(1);  // of a whole probe
  uint32_t concurrency = 10;      // probes of this upstream at one time
  std::string method = "GET";
  std::string path = "/";
  std::string body;
  std::vector<std::string> headers;  // "Name: value"
  std::string host;                  // empty: what requests to that node have
  uint16_t port = 0;                 // 0: the node's
  std::optional<bool> verify;        // none: as the upstream's tls.verify
  Duration healthy_interval = seconds(1);
  Duration unhealthy_interval = seconds(1);
  HealthRules rules{
      .healthy_statuses = StatusesOf({200, 302}),
      .unhealthy_statuses = StatusesOf({429, 404, 500, 501, 502, 503, 504, 505}),
  };
};

struct PassiveCheck {
  CheckType type = CheckType::kHttp;
  HealthRules rules{
      .healthy_statuses = StatusesOf({200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301,
                                      302, 303, 304, 305, 306, 307, 308}),
      .unhealthy_statuses = StatusesOf({429, 500, 503}),
      .successes = 5,
      .timeouts = 7,
  };
};

struct ChecksConfig {
  ActiveCheck active;
  std::optional<PassiveCheck> passive;
};

// The meaning and the defaults are those of balancer/outlier.h.
struct OutlierDetection {
  uint8_t consecutive_errors = 5;
  uint8_t consecutive_gateway_errors = 0;
  uint8_t failure_percentage = 0;
  uint32_t minimum_hosts = 5;
  uint32_t minimum_requests = 50;
  Duration interval = seconds(10);
  Duration base_ejection_time = seconds(30);
  Duration max_ejection_time = seconds(300);
  uint8_t max_ejection_percent = 10;
  bool always_eject_one = false;
};

}  // namespace sluice::conf
