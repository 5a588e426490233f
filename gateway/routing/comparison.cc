#include "gateway/routing/comparison.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "gateway/base/text.h"

namespace sluice {

namespace {

constexpr size_t kShownBytes = 120;

// What Lua's tonumber accepts, in decimal: white space around, a sign, an exponent.
std::optional<double> ParseNumber(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
  const char first = text[text.size() > 1 && text.front() == '-' ? 1 : 0];
  if (!IsDigit(first) && first != '.') return std::nullopt;  // no "inf", no "nan"
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Text of a request for a terminal: short, and without control characters.
std::string Shown(std::string_view value) {
  if (value.data() == nullptr) return "nothing";
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : value.substr(0, kShownBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    }
  }
  return out + (value.size() > kShownBytes ? "\"…" : "\"");
}

std::string Got(const conf::Node& node) {
  const std::string kind(conf::KindName(node.kind));
  return node.is_list() || node.is_map() ? kind : kind + " " + conf::ToJson(node);
}

struct NamedHint {
  std::string_view wrong;
  std::string_view hint;
};

// Spellings of other languages.
constexpr NamedHint kSpellings[] = {
    {"!=", "did you mean \"~=\"?"},
    {"<>", "did you mean \"~=\"?"},
    {"=", "did you mean \"==\"?"},
    {"===", "did you mean \"==\"?"},
    {"eq", "did you mean \"==\"?"},
    {"=>", "did you mean \">=\"?"},
    {"=<", "did you mean \"<=\"?"},
    {"~", "did you mean \"~~\"?"},
    {"=~", "did you mean \"~~\"?"},
    {"regex", "did you mean \"~~\"?"},
    {"match", "did you mean \"~~\"?"},
    {"!~~", "write [variable, \"!\", \"~~\", pattern]"},
    {"!~", "write [variable, \"!\", \"~~\", pattern]"},
    {"not", "write [variable, \"!\", operator, value]"},
    {"not in", "write [variable, \"!\", \"in\", list]"},
    {"!in", "write [variable, \"!\", \"in\", list]"},
    {"contains", "did you mean \"has\" (a list) or \"~~\" (a pattern)?"},
    {"ip_match", "did you mean \"ipmatch\"?"},
};

std::string OperatorHint(std::string_view name) {
  const std::string lower = ToLower(name);
  for (const auto& [wrong, hint] : kSpellings) {
    if (lower == wrong) return std::string(hint);
  }
  for (const std::string_view known : {"in", "has", "ipmatch"}) {
    if (EditDistance(lower, known, 1) <= 1) return "did you mean \"" + std::string(known) + "\"?";
  }
  return {};
}

}  // namespace

// The parts of a comparison as written.
struct Comparison::Source {
  const conf::Node* variable;
  const conf::Node* op;  // null in the short form [variable, value]
  const conf::Node* value;
  std::string value_path;
  bool negated;
};

std::optional<Comparison::Operator> Comparison::FindOperator(std::string_view name) {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"==", Operator::kEqual},        {"~=", Operator::kNotEqual},
      {">", Operator::kGreater},       {">=", Operator::kGreaterEqual},
      {"<", Operator::kLess},          {"<=", Operator::kLessEqual},
      {"~~", Operator::kMatch},        {"~*", Operator::kMatchNoCase},
      {"in", Operator::kIn},           {"has", Operator::kHas},
      {"ipmatch", Operator::kIpMatch},
  };
  for (const auto& [known, op] : kOperators) {
    if (EqualsIgnoreCase(name, known)) return op;
  }
  return std::nullopt;
}

std::optional<Comparison::Source> Comparison::Take(const conf::Node& node, const std::string& path,
                                                   conf::Diagnostics& diagnostics) {
  const auto& items = node.items;
  const size_t size = items.size();
  if (size < 2 || size > 4) {
    diagnostics.Add(node.position, path,
                    "expected [variable, operator, value], got a list of " + std::to_string(size));
    return std::nullopt;
  }
  for (size_t i = 0; i + 1 < size; ++i) {
    if (items[i].is_string()) continue;
    diagnostics.Add(
        items[i].position, path + "[" + std::to_string(i) + "]",
        std::string(i == 0 ? "expected the name of a variable" : "expected an operator") +
            ", got " + Got(items[i]));
    return std::nullopt;
  }
  Source source{.variable = &items[0],
                .op = size == 2 ? nullptr : &items[size - 2],
                .value = &items[size - 1],
                .value_path = path + "[" + std::to_string(size - 1) + "]",
                .negated = size == 4};
  if (source.negated && items[1].text != "!") {
    diagnostics.Add(items[1].position, path + "[1]",
                    "expected \"!\" before the operator, got " + Got(items[1]),
                    "a comparison of four parts is [variable, \"!\", operator, value]");
    return std::nullopt;
  }
  if (size == 2 && FindOperator(source.value->text)) {
    diagnostics.Add(node.position, path,
                    "expected a value after the operator \"" + source.value->text + "\"");
    return std::nullopt;
  }
  return source;
}

std::optional<Comparison> Comparison::Make(const conf::Node& node, const std::string& path,
                                           conf::Diagnostics& diagnostics) {
  const auto source = Take(node, path, diagnostics);
  if (!source) return std::nullopt;
  auto variable = Variable::Make(source->variable->text);
  if (!variable) {
    diagnostics.Add(source->variable->position, path + "[0]", variable.error().detail);
    return std::nullopt;
  }
  Comparison comparison(std::move(*variable));
  comparison.negated_ = source->negated;
  if (source->op != nullptr) {
    const auto op = FindOperator(source->op->text);
    if (!op) {
      diagnostics.Add(source->op->position, path + (source->negated ? "[2]" : "[1]"),
                      "expected an operator (==, ~=, >, >=, <, <=, ~~, ~*, in, has, ipmatch), "
                      "got \"" +
                          source->op->text + "\"",
                      OperatorHint(source->op->text));
      return std::nullopt;
    }
    comparison.operator_ = *op;
  }
  if (!comparison.SetValue(*source, diagnostics)) return std::nullopt;
  std::string value = conf::ToJson(*source->value);
  if (value.size() > kShownBytes) value = value.substr(0, kShownBytes) + "…";
  comparison.shown_ = comparison.variable_.name() + (source->negated ? " ! " : " ") +
                      (source->op == nullptr ? "==" : source->op->text) + " " + value;
  return comparison;
}

bool Comparison::SetValue(const Source& source, conf::Diagnostics& diagnostics) {
  switch (operator_) {
    case Operator::kEqual:
    case Operator::kNotEqual:
      is_null_ = source.value->kind == conf::Node::Kind::kNull;
      return is_null_ || SetScalar(source, diagnostics);
    case Operator::kHas:
      return SetScalar(source, diagnostics);
    case Operator::kGreater:
    case Operator::kGreaterEqual:
    case Operator::kLess:
    case Operator::kLessEqual:
      return SetOrder(source, diagnostics);
    case Operator::kMatch:
    case Operator::kMatchNoCase:
      return SetRegex(source, diagnostics);
    case Operator::kIn:
      return SetList(source, diagnostics);
    case Operator::kIpMatch:
      return SetRanges(source, diagnostics);
  }
  return false;
}

bool Comparison::SetScalar(const Source& source, conf::Diagnostics& diagnostics) {
  const conf::Node& value = *source.value;
  switch (value.kind) {
    case conf::Node::Kind::kString:
      text_ = value.text;
      return true;
    case conf::Node::Kind::kInteger:
    case conf::Node::Kind::kNumber:
      number_ = value.number;
      return true;
    case conf::Node::Kind::kBool:
      diagnostics.Add(value.position, source.value_path,
                      "expected text or a number, got " + Got(value) +
                          "; variables are text and never equal a truth value",
                      "write \"" + conf::ToJson(value) + "\" in quotes");
      return false;
    default:
      diagnostics.Add(value.position, source.value_path,
                      "expected text or a number, got " + Got(value),
                      value.is_list() ? "use \"in\" to compare with a list" : "");
      return false;
  }
}

bool Comparison::SetOrder(const Source& source, conf::Diagnostics& diagnostics) {
  const conf::Node& value = *source.value;
  if (value.kind == conf::Node::Kind::kInteger || value.kind == conf::Node::Kind::kNumber) {
    number_ = value.number;
  } else if (value.is_string()) {
    number_ = ParseNumber(value.text);
  }
  if (!number_) {
    diagnostics.Add(value.position, source.value_path,
                    "expected a number, because \"" + source.op->text +
                        "\" compares numbers, got " + Got(value));
  }
  return number_.has_value();
}

bool Comparison::SetRegex(const Source& source, conf::Diagnostics& diagnostics) {
  if (!source.value->is_string()) {
    diagnostics.Add(source.value->position, source.value_path,
                    "expected a regular expression as text, got " + Got(*source.value));
    return false;
  }
  auto regex =
      Regex::Make(source.value->text, operator_ == Operator::kMatch ? Regex::Case::kSensitive
                                                                    : Regex::Case::kInsensitive);
  if (!regex) {
    diagnostics.Add(source.value->position, source.value_path, regex.error().detail);
    return false;
  }
  regex_.emplace(std::move(*regex));
  return true;
}

bool Comparison::SetList(const Source& source, conf::Diagnostics& diagnostics) {
  const conf::Node& value = *source.value;
  if (!value.is_list()) {
    diagnostics.Add(value.position, source.value_path,
                    "expected a list after \"in\", got " + Got(value));
    return false;
  }
  if (value.items.size() > kMaxItems) {
    diagnostics.Add(value.position, source.value_path,
                    "expected at most " + std::to_string(kMaxItems) + " values, got " +
                        std::to_string(value.items.size()));
    return false;
  }
  for (size_t i = 0; i < value.items.size(); ++i) {
    const conf::Node& item = value.items[i];
    if (item.is_string()) {
      texts_.push_back(item.text);
    } else if (item.kind == conf::Node::Kind::kInteger || item.kind == conf::Node::Kind::kNumber) {
      numbers_.push_back(item.number);
    } else {
      diagnostics.Add(item.position, source.value_path + "[" + std::to_string(i) + "]",
                      "expected text or a number, got " + Got(item));
      return false;
    }
  }
  std::sort(texts_.begin(), texts_.end());
  std::sort(numbers_.begin(), numbers_.end());
  return true;
}

bool Comparison::SetRanges(const Source& source, conf::Diagnostics& diagnostics) {
  const conf::Node& value = *source.value;
  const std::string expected = "expected an IP address, a range, or a list of them";
  if (!value.is_string() && (!value.is_list() || value.items.empty())) {
    diagnostics.Add(value.position, source.value_path,
                    expected + ", got " + (value.is_list() ? "an empty list" : Got(value)));
    return false;
  }
  const size_t count = value.is_list() ? value.items.size() : 1;
  if (count > kMaxItems) {
    diagnostics.Add(
        value.position, source.value_path,
        "expected at most " + std::to_string(kMaxItems) + " ranges, got " + std::to_string(count));
    return false;
  }
  for (size_t i = 0; i < count; ++i) {
    const conf::Node& item = value.is_list() ? value.items[i] : value;
    const std::string path =
        value.is_list() ? source.value_path + "[" + std::to_string(i) + "]" : source.value_path;
    if (!item.is_string()) {
      diagnostics.Add(item.position, path, expected + ", got " + Got(item));
      return false;
    }
    auto range = Cidr::Make(item.text);
    if (!range) {
      diagnostics.Add(item.position, path, range.error().detail);
      return false;
    }
    ranges_.push_back(*range);
  }
  return true;
}

Truth Comparison::Test(const RequestView& request, std::string* failed) const {
  std::string scratch;
  const std::string_view value = variable_.Value(request, scratch);
  Truth truth = Evaluate(value);
  if (negated_ && truth != Truth::kUnknown) {
    truth = truth == Truth::kTrue ? Truth::kFalse : Truth::kTrue;
  }
  if (failed != nullptr && truth != Truth::kTrue) {
    *failed = shown_ + ": got " + Shown(value);
    if (truth == Truth::kUnknown) *failed += ", on which the pattern passed its match limit";
  }
  return truth;
}

Truth Comparison::Evaluate(std::string_view value) const {
  const auto truth = [](bool result) { return result ? Truth::kTrue : Truth::kFalse; };
  if (operator_ == Operator::kNotEqual) return truth(!Equals(value));
  if (operator_ == Operator::kEqual) return truth(Equals(value));
  if (value.data() == nullptr) return Truth::kFalse;
  switch (operator_) {
    case Operator::kMatch:
    case Operator::kMatchNoCase:
      switch (regex_->Search(value)) {
        case Regex::Outcome::kMatch:
          return Truth::kTrue;
        case Regex::Outcome::kNoMatch:
          return Truth::kFalse;
        case Regex::Outcome::kLimit:
          return Truth::kUnknown;
      }
      return Truth::kUnknown;
    case Operator::kIn:
      return truth(IsIn(value));
    case Operator::kIpMatch:
      return truth(IsInRanges(value));
    case Operator::kHas: {
      const auto members = Split(value, ',');
      return truth(std::any_of(members.begin(), members.end(),
                               [&](std::string_view member) { return Equals(TrimOws(member)); }));
    }
    default:
      return truth(Orders(value));
  }
}

bool Comparison::Equals(std::string_view value) const {
  const bool is_absent = value.data() == nullptr;
  if (is_null_ || is_absent) return is_null_ && is_absent;
  return number_ ? ParseNumber(value) == number_ : value == text_;
}

bool Comparison::Orders(std::string_view value) const {
  const auto number = ParseNumber(value);
  if (!number) return false;
  switch (operator_) {
    case Operator::kGreater:
      return *number > *number_;
    case Operator::kGreaterEqual:
      return *number >= *number_;
    case Operator::kLess:
      return *number < *number_;
    default:
      return *number <= *number_;
  }
}

bool Comparison::IsIn(std::string_view value) const {
  if (std::binary_search(texts_.begin(), texts_.end(), value, std::less<>())) return true;
  if (numbers_.empty()) return false;
  const auto number = ParseNumber(value);
  return number && std::binary_search(numbers_.begin(), numbers_.end(), *number);
}

bool Comparison::IsInRanges(std::string_view value) const {
  const auto ip = IpAddress::Parse(value);
  return ip && std::any_of(ranges_.begin(), ranges_.end(),
                           [&](const Cidr& range) { return range.Contains(*ip); });
}

}  // namespace sluice
