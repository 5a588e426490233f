// The metrics under APISIX's names and labels, so that its dashboards and alerts go on working.
#pragma once

#include <vector>

#include "gateway/control/metrics_page.h"
#include "gateway/control/status.h"
#include "gateway/control/traffic_series.h"
#include "gateway/observe/metrics_text.h"

namespace sluice {

void AddCompat(MetricsText& text, const MetricsSources& sources, const HostStatus& host,
               const std::vector<TrafficSeries>& traffic);

}  // namespace sluice
