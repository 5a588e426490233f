// Everything that the gateway measures, as a page for Prometheus: the sums of the metric slabs, and
// the present state of upstreams and configuration. Made off the loop, once for each scrape. The
// names are documented in docs/observability.md, which a test compares.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "conf/resources.h"
#include "gateway/base/unique_fd.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/proxy/endpoint_table.h"

namespace sluice {

struct MetricsSources {
  std::shared_ptr<const conf::Config> config;
  uint64_t revision = 0;
  std::shared_ptr<EndpointTable> endpoints;
  std::shared_ptr<const MetricSlabs> slabs;
  std::shared_ptr<const UniqueFd> limits;  // memory of SharedLimits
  uint64_t limit_keys = 0;                 // that they are made for
};

std::string MakeMetricsPage(const MetricsSources& sources);

}  // namespace sluice
