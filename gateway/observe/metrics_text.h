// Metrics in the text format of Prometheus, one family after the other. Made for one scrape; the
// library that writes the format is in the .cc only.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/observe/traffic.h"

namespace sluice {

class MetricsText {
 public:
  enum class Type : uint8_t { kCounter, kGauge, kHistogram };
  struct Label {
    std::string_view name;
    std::string_view value;
  };
  using Labels = std::initializer_list<Label>;

  MetricsText();
  ~MetricsText();
  MetricsText(const MetricsText&) = delete;
  MetricsText& operator=(const MetricsText&) = delete;

  // Begins a family. It is said that there is one also when nothing is added to it.
  void Begin(std::string_view name, std::string_view help, Type type);
  void Add(Labels labels, double value);
  void Add(Labels labels, uint64_t value) { Add(labels, static_cast<double>(value)); }
  // In multiples of `unit`, without the bounds below `least`.
  void Add(Labels labels, const LatencyHistogram<uint64_t>& histogram, Duration unit,
           Duration least = Duration::zero());

  std::string Take();  // the end

 private:
  struct Family;

  void End();

  std::unique_ptr<Family> family_;
  std::string text_;
};

}  // namespace sluice
