#include "gateway/observe/metrics_text.h"

#include <sstream>
#include <utility>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace sluice {
namespace {

prometheus::MetricType TypeOf(MetricsText::Type type) {
  switch (type) {
    case MetricsText::Type::kCounter:
      return prometheus::MetricType::Counter;
    case MetricsText::Type::kGauge:
      return prometheus::MetricType::Gauge;
    case MetricsText::Type::kHistogram:
      break;
  }
  return prometheus::MetricType::Histogram;
}

prometheus::ClientMetric MetricWith(MetricsText::Labels labels) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : labels) {
    metric.label.push_back({std::string(name), std::string(value)});
  }
  return metric;
}

}  // namespace

struct MetricsText::Family {
  prometheus::MetricFamily metrics;
};

MetricsText::MetricsText() = default;
MetricsText::~MetricsText() = default;

void MetricsText::Begin(std::string_view name, std::string_view help, Type type) {
  End();
  family_ = std::make_unique<Family>();
  family_->metrics.name = name;
  family_->metrics.help = help;
  family_->metrics.type = TypeOf(type);
}

void MetricsText::Add(Labels labels, double value) {
  prometheus::ClientMetric metric = MetricWith(labels);
  metric.counter.value = metric.gauge.value = value;
  family_->metrics.metric.push_back(std::move(metric));
}

void MetricsText::Add(Labels labels, const LatencyHistogram<uint64_t>& histogram, Duration unit,
                      Duration least) {
  prometheus::ClientMetric metric = MetricWith(labels);
  const auto in_units = [&](auto count_of_ns) {
    return static_cast<double>(count_of_ns) / static_cast<double>(unit.count());
  };
  uint64_t count = 0;
  for (size_t i = 0; i < kLatencyClasses; ++i) {
    count += histogram.classes[i];
    if (i == kLatencyBounds.size() || kLatencyBounds[i] < least) continue;
    metric.histogram.bucket.push_back({count, in_units(kLatencyBounds[i].count())});
  }
  metric.histogram.sample_count = count;
  metric.histogram.sample_sum = in_units(histogram.nanoseconds);
  family_->metrics.metric.push_back(std::move(metric));
}

void MetricsText::End() {
  if (family_ == nullptr) return;
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, {std::move(family_->metrics)});
  text_ += std::move(out).str();
  family_.reset();
}

std::string MetricsText::Take() {
  End();
  return std::move(text_);
}

}  // namespace sluice
