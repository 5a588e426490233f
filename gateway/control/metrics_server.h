// The endpoint that Prometheus scrapes: GET /metrics, or APISIX's /apisix/prometheus/metrics. A
// page is made on a pool thread, one at a time; who asks meanwhile shares the next one. In the
// controller.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/base/unique_fd.h"
#include "gateway/control/local_http_server.h"
#include "gateway/control/metrics_page.h"
#include "gateway/net/loop.h"

namespace sluice {

class MetricsServer {
 public:
  // `sources` says what a page is made of, when that begins.
  MetricsServer(Loop& loop, UniqueFd socket, std::function<MetricsSources()> sources);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

 private:
  void OnRequest(uint64_t id, const RequestHead& head);
  void MakePage();
  void OnPage(const std::shared_ptr<const std::string>& page);

  Loop& loop_;
  const std::function<MetricsSources()> sources_;
  std::vector<uint64_t> waiting_;       // for the page that is being made
  std::vector<uint64_t> waiting_next_;  // came after that had begun
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  LocalHttpServer server_;
};

}  // namespace sluice
