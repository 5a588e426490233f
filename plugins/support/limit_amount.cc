#include "plugins/support/limit_amount.h"

#include <charconv>
#include <string>
#include <utility>

#include "plugins/support/templates.h"

namespace sluice::plugins {

Result<uint64_t> LimitAmount::Of(RequestContext& request, uint64_t min, uint64_t max) const {
  if (!text) return number;
  const std::string_view value = request.Expand(*text);
  uint64_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error == std::errc() && end == value.data() + value.size() && result >= min &&
      result <= max) {
    return result;
  }
  return GatewayError(ErrorCode::kPluginFailed, "expected an integer from " + std::to_string(min) +
                                                    " to " + std::to_string(max) + ", got \"" +
                                                    std::string(value.substr(0, 64)) + "\"");
}

std::optional<LimitAmount> LimitAmountField::operator()(const conf::Place& place) const {
  LimitAmount amount;
  if (!place.node.is_string()) {
    const auto value =
        conf::Integer<int64_t>{static_cast<int64_t>(min), static_cast<int64_t>(max)}(place);
    if (!value) return std::nullopt;
    amount.number = static_cast<uint64_t>(*value);
    return amount;
  }
  auto made = MakeTemplate(place.node.text);
  if (!made.has_value()) {
    place.Fail(made.error().detail);
    return std::nullopt;
  }
  if (made->is_constant()) {
    place.Expected("an integer or a text with $variables");
    return std::nullopt;
  }
  amount.text = *std::move(made);
  return amount;
}

conf::TypeSchema LimitAmountField::Schema() const {
  conf::TypeSchema number =
      conf::Integer<int64_t>{static_cast<int64_t>(min), static_cast<int64_t>(max)}.Schema();
  return {"\"oneOf\":[{" + number.json + "},{\"type\":\"string\"}]",
          number.text + ", or a text with $variables that makes one",
          {}};
}

}  // namespace sluice::plugins
