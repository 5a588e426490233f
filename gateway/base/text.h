// Small ASCII text functions that several layers need. Nothing here knows about locales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

constexpr char AsciiLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The value of a hex digit, or -1.
constexpr int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool EqualsIgnoreCaseOfOneSize(std::string_view a, std::string_view b);
inline bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && EqualsIgnoreCaseOfOneSize(a, b);
}
std::string ToLower(std::string_view text);

// Without the optional white space (SP, HTAB) of RFC 9110 5.6.3 at both ends.
inline std::string_view TrimOws(std::string_view text) {
  const auto is_ows = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_ows(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_ows(text.back())) text.remove_suffix(1);
  return text;
}

// All of `text` as a decimal number: digits only, no sign, no space, no overflow.
std::optional<uint64_t> ParseDecimal(std::string_view text);

// The parts between separators; "a,,b" has three.
std::vector<std::string_view> Split(std::string_view text, char separator);

// Is `token` one of the comma-separated members of a list field (case-insensitive)?
bool ListContains(std::string_view list, std::string_view token);

// Appends a number in decimal without going through iostreams or printf.
void AppendDecimal(std::string& out, uint64_t value);

// A number's decimal digits, without memory of the heap.
class Decimal {
 public:
  explicit Decimal(uint64_t value);
  std::string_view text() const { return {digits_, size_}; }

 private:
  char digits_[20];
  uint8_t size_;
};

// The length of the valid UTF-8 sequence (RFC 3629) at the start of `text`, or 0.
size_t Utf8Length(std::string_view text);
bool IsUtf8(std::string_view text);

// How many bytes at the front of `text` are printable ASCII and neither '"' nor '\\': what JSON and
// log lines carry as it is.
size_t PlainLength(std::string_view text);

// Edit distance with a limit: returns limit + 1 when the words are further apart.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit);

}  // namespace sluice
