#include "conf/config_tree.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

size_t CountDigits(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && IsDigit(text[count])) ++count;
  return count;
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool IsFloat(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const size_t whole = CountDigits(text);
  text.remove_prefix(whole);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    const size_t fraction = CountDigits(text);
    if (whole + fraction == 0) return false;
    text.remove_prefix(fraction);
  } else if (whole == 0) {
    return false;
  }
  if (text.empty()) return true;
  if (text.front() != 'e' && text.front() != 'E') return false;
  text.remove_prefix(1);
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && CountDigits(text) == text.size();
}

struct IntegerText {
  std::string_view digits;
  int base = 10;
  bool negative = false;
};

// [-+]? [0-9]+ | 0o [0-7]+ | 0x [0-9a-fA-F]+
std::optional<IntegerText> SplitInteger(std::string_view text) {
  IntegerText out{text};
  if (text.starts_with("0o") || text.starts_with("0x")) {
    out.base = text[1] == 'o' ? 8 : 16;
    out.digits = text.substr(2);
  } else if (text.starts_with('-') || text.starts_with('+')) {
    out.negative = text.front() == '-';
    out.digits = text.substr(1);
  }
  if (out.digits.empty()) return std::nullopt;
  for (const char c : out.digits) {
    const int value = HexValue(c);
    if (value < 0 || value >= out.base) return std::nullopt;
  }
  return out;
}

void SetFloat(Node& node, std::string_view text) {
  node.kind = Node::Kind::kNumber;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), node.number);
  // Neither too large nor too small for a double is read as something else without a word.
  if (error != std::errc()) node.number = std::numeric_limits<double>::infinity();
}

void SetInteger(Node& node, const IntegerText& text) {
  uint64_t magnitude = 0;
  const char* end = text.digits.data() + text.digits.size();
  const auto [stop, error] = std::from_chars(text.digits.data(), end, magnitude, text.base);
  const uint64_t limit = uint64_t{std::numeric_limits<int64_t>::max()} + (text.negative ? 1 : 0);
  if (error == std::errc() && magnitude <= limit) {
    node.kind = Node::Kind::kInteger;
    node.integer = static_cast<int64_t>(text.negative ? 0 - magnitude : magnitude);
    node.number = static_cast<double>(node.integer);
  } else if (text.base == 10) {
    SetFloat(node, node.text);
  } else {
    node.kind = Node::Kind::kNumber;
    for (const char c : text.digits) node.number = node.number * text.base + HexValue(c);
  }
}

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words) {
    if (text == word) return true;
  }
  return false;
}

void WriteNumber(std::string& out, double value) {
  char digits[40];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  const std::string_view text(digits, static_cast<size_t>(end - digits));
  out += text;
  // Without this, 5.0 would come back as the integer 5.
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

std::string NumberText(double value) {
  std::string out;
  WriteNumber(out, value);
  return out;
}

void Write(JsonWriter& writer, const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      writer.Null();
      return;
    case Node::Kind::kBool:
      writer.Bool(node.boolean);
      return;
    case Node::Kind::kInteger:
      writer.Integer(node.integer);
      return;
    case Node::Kind::kNumber:
      writer.Raw(NumberText(node.number));
      return;
    case Node::Kind::kString:
      writer.String(node.text);
      return;
    case Node::Kind::kList:
      writer.BeginArray();
      for (const Node& item : node.items) Write(writer, item);
      writer.EndArray();
      return;
    case Node::Kind::kMap:
      writer.BeginObject();
      for (const Entry& entry : node.entries) {
        writer.Key(entry.key);
        Write(writer, entry.value);
      }
      writer.EndObject();
      return;
  }
}

}  // namespace

const Node* Node::Find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

std::string_view KindName(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kBool:
      return "a boolean";
    case Node::Kind::kInteger:
      return "an integer";
    case Node::Kind::kNumber:
      return "a number";
    case Node::Kind::kString:
      return "text";
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
  }
  return "";
}

Node ReadPlainScalar(std::string text, Position position) {
  Node node;
  node.position = position;
  node.plain = true;
  node.text = std::move(text);
  const std::string_view view = node.text;
  if (view.empty() || IsOneOf(view, {"~", "null", "Null", "NULL"})) return node;
  if (IsOneOf(view, {"true", "True", "TRUE", "false", "False", "FALSE"})) {
    node.kind = Node::Kind::kBool;
    node.boolean = view.front() == 't' || view.front() == 'T';
  } else if (const auto integer = SplitInteger(view)) {
    SetInteger(node, *integer);
  } else if (IsFloat(view)) {
    SetFloat(node, view);
  } else if (IsOneOf(view, {".nan", ".NaN", ".NAN"})) {
    node.kind = Node::Kind::kNumber;
    node.number = std::numeric_limits<double>::quiet_NaN();
  } else {
    const bool sign = view.front() == '-' || view.front() == '+';
    const bool infinite = IsOneOf(view.substr(sign ? 1 : 0), {".inf", ".Inf", ".INF"});
    node.kind = infinite ? Node::Kind::kNumber : Node::Kind::kString;
    if (infinite) node.number = std::numeric_limits<double>::infinity();
  }
  return node;
}

std::string ToJson(const Node& node) {
  std::string out;
  JsonWriter writer(out);
  Write(writer, node);
  return out;
}

}  // namespace sluice::conf
