#include "conf/schema.h"

#include <algorithm>
#include <charconv>

#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr size_t kShownText = 60;
constexpr double kLongestSeconds = 1e9;  // a Duration holds nine times as much

std::string Join(const std::vector<std::string_view>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

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

bool IsNumber(const Node& node) {
  return node.kind == Node::Kind::kInteger || node.kind == Node::Kind::kNumber;
}

}  // namespace

std::string Place::Path() const {
  if (parent == nullptr) return {};
  std::string path = parent->Path();
  if (index != kNoIndex) return path + "[" + std::to_string(index) + "]";
  if (!path.empty()) path += '.';
  return path.append(key);
}

void Place::Fail(std::string message, std::string hint) const {
  FailAt(node.position, std::move(message), std::move(hint));
}

void Place::FailAt(Position position, std::string message, std::string hint) const {
  if (node.broken) return;
  diagnostics.Add(position, Path(), std::move(message), std::move(hint));
}

std::nullopt_t Place::Expected(std::string_view what, std::string hint) const {
  Fail("expected " + std::string(what) + ", got " + Describe(node), std::move(hint));
  return std::nullopt;
}

std::string Describe(const Node& node) {
  if (node.hidden) return std::string(KindName(node.kind)) + " put in for ${...}, not shown";
  switch (node.kind) {
    case Node::Kind::kBool:
      return std::string("the boolean ") + (node.boolean ? "true" : "false");
    case Node::Kind::kInteger:
      return "the integer " + node.text;
    case Node::Kind::kNumber:
      return "the number " + node.text;
    case Node::Kind::kString: {
      if (node.text.size() <= kShownText) return "the text \"" + node.text + "\"";
      size_t cut = kShownText;
      while (cut > 0 && (static_cast<unsigned char>(node.text[cut]) & 0xc0) == 0x80) --cut;
      return "the text \"" + node.text.substr(0, cut) + "...\"";
    }
    case Node::Kind::kList:
      return node.items.empty() ? "an empty list" : "a list";
    case Node::Kind::kMap:
      return node.entries.empty() ? "an empty map" : "a map";
    default:
      return std::string(KindName(node.kind));
  }
}

std::string Suggest(std::string_view word, const std::vector<std::string_view>& names) {
  // Two letters that changed places are a distance of 2.
  const size_t limit = word.size() < 3 ? 1 : word.size() < 8 ? 2 : 3;
  std::string_view best;
  size_t best_score = SIZE_MAX;
  for (const std::string_view name : names) {
    const size_t distance = EditDistance(word, name, limit);
    if (distance > limit || name.empty()) continue;
    // Of names equally far, one of the same length and beginning is the likelier.
    const size_t unlike =
        (name.size() != word.size() ? 2 : 0) + (word.starts_with(name[0]) ? 0 : 1);
    const size_t score = distance * 4 + unlike;
    if (score < best_score) {
      best = name;
      best_score = score;
    }
  }
  return best.empty() ? std::string() : "did you mean \"" + std::string(best) + "\"?";
}

bool RefuseNotBuilt(const Place& place) {
  const Node& node = place.node;
  const bool off = node.kind == Node::Kind::kBool && !node.boolean;
  const bool empty =
      (node.is_map() || node.is_list()) && node.items.empty() && node.entries.empty();
  if (off || empty) return false;
  place.Fail("this feature is not built yet; it is refused because ignoring it could do harm");
  return true;
}

void FailUnknown(const Place& map, const Entry& entry, const std::vector<std::string_view>& names) {
  std::string hint = Suggest(entry.key, names);
  if (hint.empty()) hint = "known fields are " + Join(names);
  map.Of(entry).FailAt(entry.key_position, "unknown field", std::move(hint));
}

void FailChoice(const Place& place, const std::vector<std::string_view>& words,
                const std::vector<std::string_view>& not_built) {
  const std::string& text = place.node.text;
  if (place.node.is_string() &&
      std::find(not_built.begin(), not_built.end(), text) != not_built.end()) {
    place.Fail("\"" + text + "\" is not built yet; expected " + Join(words));
    return;
  }
  place.Expected(Join(words), place.node.is_string() ? Suggest(text, words) : std::string());
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
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(node.text.begin(), node.text.end(), control)) {
    place.Fail("expected text without control characters and line ends");
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
  const bool in_range = (positive ? value > 0 : value >= 0) && value <= kLongestSeconds;
  if (IsNumber(place.node) && in_range) {
    // Not zero, which would mean something else, however short the time is.
    return positive ? std::max(FromSeconds(value), Duration(1)) : FromSeconds(value);
  }
  return place.Expected(positive ? "a number of seconds above 0, at most 1000000000"
                                 : "a number of seconds from 0 to 1000000000");
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

}  // namespace sluice::conf
