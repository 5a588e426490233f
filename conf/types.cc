#include "conf/types.h"

#include <algorithm>
#include <charconv>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr double kLongestSeconds = 1e9;  // a Duration holds nine times as much

Duration FromSeconds(double value) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

// Splits "10MB" into 10 and "MB". nullopt when it does not begin with a number.
std::optional<std::pair<double, std::string_view>> SplitUnit(std::string_view text) {
  const size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + end, value);
  if (error != std::errc() || stop != text.data() + end) return std::nullopt;
  return std::pair(value, text.substr(end));
}

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kTimeUnits[] = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}};
constexpr Unit kSizeUnits[] = {{"", 1},
                               {"B", 1},
                               {"KB", 1e3},
                               {"MB", 1e6},
                               {"GB", 1e9},
                               {"KiB", 1024.0},
                               {"MiB", 1024.0 * 1024},
                               {"GiB", 1024.0 * 1024 * 1024}};

template <size_t kCount>
std::optional<double> ReadWithUnit(const Node& node, const Unit (&units)[kCount]) {
  if (!node.is_string()) return std::nullopt;
  const auto split = SplitUnit(node.text);
  if (!split) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.name == split->second) return split->first * unit.factor;
  }
  return std::nullopt;
}

std::string ShowDuration(Duration value) {
  const auto count = std::chrono::duration_cast<milliseconds>(value).count();
  if (count == 0) return "0";
  if (count % 3'600'000 == 0) return std::to_string(count / 3'600'000) + "h";
  return count % 1000 == 0 ? std::to_string(count / 1000) + "s" : std::to_string(count) + "ms";
}

std::string ShowNumber(double value) {
  std::string text;
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<int64_t>(value));
  }
  JsonWriter(text).Number(value);
  return text;
}

std::string Quote(std::string_view text) {
  std::string out;
  JsonWriter(out).String(text);
  return out;
}

bool IsNumber(const Node& node) {
  return node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kNumber;
}

}  // namespace

void FailChoice(const Place& place, const std::vector<std::string_view>& words,
                const std::vector<std::string_view>& not_built) {
  const std::string& text = place.node.text;
  if (place.node.is_string() &&
      std::find(not_built.begin(), not_built.end(), text) != not_built.end()) {
    place.Fail("\"" + text + "\" is not built yet; expected " + JoinWords(words));
    return;
  }
  place.Expected(JoinWords(words), place.node.is_string() ? Suggest(text, words) : std::string());
}

std::optional<bool> Boolean::operator()(const Place& place) const {
  if (place.node.kind == Node::Kind::kBool) return place.node.boolean;
  return place.Expected("true or false");
}

std::optional<std::string> Text::operator()(const Place& place) const {
  const Node& node = place.node;
  if (!node.is_string()) {
    const bool scalar = IsNumber(node) || node.kind == Node::Kind::kBool;
    return place.Expected("text", scalar ? "write it in quotes" : "");
  }
  const auto starts = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
  const auto length =
      static_cast<size_t>(std::count_if(node.text.begin(), node.text.end(), starts));
  if (length < min || length > max) {
    place.Fail("expected text of " + std::to_string(min) + " to " + std::to_string(max) +
               " characters, got " + std::to_string(length));
    return std::nullopt;
  }
  const bool several = lines;
  const auto control = [several](char c) {
    if (several && (c == '\n' || c == '\r' || c == '\t')) return false;
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  };
  if (std::any_of(node.text.begin(), node.text.end(), control)) {
    place.Fail(lines ? "expected text without control characters"
                     : "expected text without control characters and line ends");
    return std::nullopt;
  }
  return node.text;
}

std::optional<int64_t> ReadInteger(const Place& place, int64_t min, int64_t max) {
  const Node& node = place.node;
  if (node.kind == Node::Kind::kInteger && node.integer >= min && node.integer <= max) {
    return node.integer;
  }
  if (min == std::numeric_limits<int64_t>::min()) return place.Expected("an integer");
  return place.Expected("an integer from " + std::to_string(min) + " to " + std::to_string(max));
}

std::optional<Duration> Seconds::operator()(const Place& place) const {
  const double value = place.node.number;
  const bool in_range = (positive ? value > 0 : value >= 0) && value <= max;
  if (IsNumber(place.node) && in_range) {
    // Not zero, which would mean something else, however short the time is.
    return positive ? std::max(FromSeconds(value), Duration(1)) : FromSeconds(value);
  }
  return place.Expected(
      (positive ? "a number of seconds above 0, at most " : "a number of seconds from 0 to ") +
      ShowNumber(max));
}

std::optional<Duration> TimeSpan::operator()(const Place& place) const {
  const Node& node = place.node;
  const auto seconds_value =
      IsNumber(node) ? std::optional(node.number) : ReadWithUnit(node, kTimeUnits);
  if (seconds_value && *seconds_value >= 0 && *seconds_value <= kLongestSeconds) {
    const Duration value = FromSeconds(*seconds_value);
    if (value >= min && value <= max) return value;
  }
  return place.Expected("a time from " + ShowDuration(min) + " to " + ShowDuration(max) +
                        " such as 10s, 500ms, 2m or a number of seconds");
}

std::optional<uint64_t> ReadByteSize(const Place& place, uint64_t min, uint64_t max) {
  const Node& node = place.node;
  std::optional<double> value;
  if (node.kind == Node::Kind::kInteger) value = node.number;
  if (node.is_string()) value = ReadWithUnit(node, kSizeUnits);
  const bool whole = value && *value == std::floor(*value) && *value < 9e18;
  if (whole && *value >= static_cast<double>(min)) {
    const auto bytes = static_cast<uint64_t>(*value);
    if (bytes <= max) return bytes;
  }
  std::string what = "a size such as 10MB, 64KiB or a number of bytes";
  if (min > 0 || max < (uint64_t{1} << 62)) {
    what += " from " + std::to_string(min) + " to " + std::to_string(max);
  }
  return place.Expected(what);
}

std::optional<std::string> TextLike::operator()(const Place& place) const {
  auto value = text(place);
  if (!value || check(*value)) return value;
  return place.Expected(what);
}

std::optional<std::string> Scalar::operator()(const Place& place) const {
  if (IsNumber(place.node)) return place.node.text;
  return Text{0, max}(place);
}

std::optional<double> Number::operator()(const Place& place) const {
  const double value = place.node.number;
  const bool low = above_min ? value <= min : value < min;
  if (IsNumber(place.node) && !low && value <= max) return value;
  return place.Expected((above_min ? "a number above " : "a number from ") + ShowNumber(min) +
                        (above_min ? ", at most " : " to ") + ShowNumber(max));
}

bool IsListOfSize(const Place& place, size_t min, size_t max) {
  const Node& node = place.node;
  if (!node.is_list() || (node.items.empty() && min > 0)) {
    place.Expected(min == 0 ? "a list" : "a list that is not empty");
    return false;
  }
  if (node.items.size() < min) {
    place.Fail("expected at least " + std::to_string(min) + " items, got " +
               std::to_string(node.items.size()));
    return false;
  }
  if (node.items.size() <= max) return true;
  place.Fail("expected at most " + std::to_string(max) + " items, got " +
             std::to_string(node.items.size()));
  return false;
}

bool IsMapOfSize(const Place& place, size_t min, size_t max) {
  const Node& node = place.node;
  if (!node.is_map() || node.entries.size() < min) {
    place.Expected(min == 0 ? "a map" : "a map that is not empty");
    return false;
  }
  if (node.entries.size() <= max) return true;
  place.Fail("expected at most " + std::to_string(max) + " members, got " +
             std::to_string(node.entries.size()));
  return false;
}

// --- what they are ------------------------------------------------------------------------------

TypeSchema Text::Schema() const {
  const std::string least = std::to_string(min);
  const std::string most = std::to_string(max);
  return {R"("type":"string","minLength":)" + least + ",\"maxLength\":" + most,
          min == 0 ? "text of at most " + most + " characters"
                   : "text of " + least + " to " + most + " characters",
          {}};
}

TypeSchema TextLike::Schema() const {
  std::string json = text.Schema().json;
  if (!pattern.empty()) json += ",\"pattern\":" + Quote(pattern);
  return {std::move(json), std::string(what), {}};
}

TypeSchema Scalar::Schema() const {
  return {
      R"("type":["string","number"],"maxLength":)" + std::to_string(max), "text or a number", {}};
}

TypeSchema IntegerSchema(int64_t min, int64_t max) {
  std::string json = "\"type\":\"integer\"";
  std::string text = "an integer";
  constexpr int64_t kUnlimited = std::numeric_limits<int32_t>::max();
  if (min > std::numeric_limits<int32_t>::min()) {
    json += ",\"minimum\":" + std::to_string(min);
    text += " from " + std::to_string(min);
  }
  if (max < kUnlimited) {
    json += ",\"maximum\":" + std::to_string(max);
    text += " to " + std::to_string(max);
  }
  return {std::move(json), std::move(text), {}};
}

TypeSchema Number::Schema() const {
  const std::string least = ShowNumber(min);
  const std::string most = ShowNumber(max);
  return {(above_min ? R"("type":"number","exclusiveMinimum":)" : R"("type":"number","minimum":)") +
              least + ",\"maximum\":" + most,
          "a number " + std::string(above_min ? "above " : "from ") + least + " to " + most,
          {}};
}

TypeSchema Seconds::Schema() const {
  TypeSchema schema = Number{0, max, positive}.Schema();
  schema.text = positive ? "seconds, above 0" : "seconds, from 0";
  if (max < kLongestSeconds) schema.text += ", at most " + ShowNumber(max);
  return schema;
}

TypeSchema ChoiceSchema(const std::vector<std::string_view>& words) {
  std::string list;
  for (const std::string_view word : words)
    list.append(list.empty() ? "" : ",").append(Quote(word));
  return {"\"enum\":[" + list + "]", JoinWords(words), {}};
}

TypeSchema ListSchema(const TypeSchema& item, size_t min, size_t max, bool unique) {
  std::string json = "\"type\":\"array\",\"items\":{" + item.json + "}";
  if (min > 0) json += ",\"minItems\":" + std::to_string(min);
  if (max != SIZE_MAX) json += ",\"maxItems\":" + std::to_string(max);
  if (unique) json += ",\"uniqueItems\":true";
  return {std::move(json), "a list, each " + item.text, item.fields};
}

TypeSchema MapSchema(const TypeSchema& item, size_t min) {
  std::string json = "\"type\":\"object\",\"additionalProperties\":{" + item.json + "}";
  if (min > 0) json += ",\"minProperties\":" + std::to_string(min);
  return {std::move(json), "a map to " + item.text, item.fields};
}

}  // namespace sluice::conf
