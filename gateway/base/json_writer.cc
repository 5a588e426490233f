#include "gateway/base/json_writer.h"

#include <charconv>
#include <cmath>

#include "gateway/base/text.h"

namespace sluice {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

void AppendEscaped(std::string& out, char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(c);
  out += "\\u00";
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

}  // namespace

void JsonWriter::Comma() {
  if (!first_) out_ += ',';
  first_ = false;
}

JsonWriter& JsonWriter::BeginObject() {
  Comma();
  out_ += '{';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::EndObject() {
  out_ += '}';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::BeginArray() {
  Comma();
  out_ += '[';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::EndArray() {
  out_ += ']';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  String(key);
  out_ += ':';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view value) {
  Comma();
  out_ += '"';
  while (!value.empty()) {
    const size_t plain = PlainLength(value);
    out_.append(value.data(), plain);
    value.remove_prefix(plain);
    if (value.empty()) break;
    size_t length = 1;
    if (static_cast<unsigned char>(value.front()) < 0x80) {
      AppendEscaped(out_, value.front());
    } else if (const size_t sequence = Utf8Length(value); sequence > 0) {
      length = sequence;
      out_ += value.substr(0, length);
    } else {
      out_ += kReplacement;
    }
    value.remove_prefix(length);
  }
  out_ += '"';
  return *this;
}

JsonWriter& JsonWriter::Integer(int64_t value) {
  Comma();
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out_.append(digits, end);
  return *this;
}

JsonWriter& JsonWriter::Unsigned(uint64_t value) {
  Comma();
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out_.append(digits, end);
  return *this;
}

JsonWriter& JsonWriter::Number(double value) {
  if (!std::isfinite(value)) return Null();
  Comma();
  char digits[40];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out_.append(digits, end);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) { return Raw(value ? "true" : "false"); }
JsonWriter& JsonWriter::Null() { return Raw("null"); }

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Comma();
  out_ += json;
  return *this;
}

}  // namespace sluice
