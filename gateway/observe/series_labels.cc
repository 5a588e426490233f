#include "gateway/observe/series_labels.h"

#include <algorithm>

#include "gateway/base/text.h"

namespace sluice {
namespace {

// A longer value is cut: all labels of a row have to fit.
constexpr size_t kLongest = 190;

void Append(std::string& text, std::string_view value, size_t longest = kLongest) {
  // A character of several bytes stays whole.
  size_t size = std::min(value.size(), longest);
  while (size < value.size() && size > 0 &&
         (static_cast<unsigned char>(value[size]) & 0xc0) == 0x80) {
    --size;
  }
  text += value.substr(0, size);
}

std::string_view TakeLabel(std::string_view& rest) {
  const size_t end = rest.find(SeriesTable::kSeparator);
  const std::string_view label = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return label;
}

}  // namespace

std::string TrafficLabels::Pack() const {
  std::string text;
  for (const std::string_view value : {route, service, matched_uri, matched_host, id}) {
    Append(text, value);
    text += SeriesTable::kSeparator;
  }
  return text + std::to_string(disabled.bits());
}

TrafficLabels TrafficLabels::Unpack(std::string_view labels) {
  TrafficLabels unpacked;
  unpacked.route = TakeLabel(labels);
  unpacked.service = TakeLabel(labels);
  unpacked.matched_uri = TakeLabel(labels);
  unpacked.matched_host = TakeLabel(labels);
  unpacked.id = TakeLabel(labels);
  unpacked.disabled = DisabledLabels::FromBits(ParseDecimal(labels).value_or(0));
  return unpacked;
}

std::string PluginLabels::Pack() const {
  std::string text;
  Append(text, route, 150);
  text += SeriesTable::kSeparator;
  Append(text, plugin, 64);
  return text;
}

PluginLabels PluginLabels::Unpack(std::string_view labels) {
  PluginLabels unpacked;
  unpacked.route = TakeLabel(labels);
  unpacked.plugin = labels;
  return unpacked;
}

}  // namespace sluice
