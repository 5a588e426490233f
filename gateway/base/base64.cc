#include "gateway/base/base64.h"

#include <array>
#include <cstdint>

#include "gateway/base/result.h"

namespace sluice {
namespace {

constexpr std::string_view kStandardDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr uint8_t kNotADigit = 0x80;

constexpr std::array<uint8_t, 256> Values(std::string_view digits) {
  std::array<uint8_t, 256> values{};
  values.fill(kNotADigit);
  for (size_t i = 0; i < digits.size(); ++i) {
    values[static_cast<unsigned char>(digits[i])] = static_cast<uint8_t>(i);
  }
  return values;
}

constexpr std::array<uint8_t, 256> kStandardValues = Values(kStandardDigits);
constexpr std::array<uint8_t, 256> kUrlValues = Values(kUrlDigits);

}  // namespace

std::optional<std::string_view> DecodeBase64(std::string_view text, Base64 form,
                                             std::span<char> out) {
  SLUICE_CHECK(out.size() >= Base64DecodedLimit(text.size()));
  if (form == Base64::kStandard) {
    if (text.size() % 4 != 0) return std::nullopt;
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  const auto& values = form == Base64::kUrl ? kUrlValues : kStandardValues;
  const auto value = [&](size_t at) -> uint32_t {
    return values[static_cast<unsigned char>(text[at])];
  };
  const size_t whole = text.size() / 4 * 4;
  char* to = out.data();
  uint32_t seen = 0;
  for (size_t i = 0; i < whole; i += 4) {
    const uint32_t a = value(i), b = value(i + 1), c = value(i + 2), d = value(i + 3);
    seen |= a | b | c | d;
    *to++ = static_cast<char>(a << 2 | b >> 4);
    *to++ = static_cast<char>(b << 4 | c >> 2);
    *to++ = static_cast<char>(c << 6 | d);
  }
  if (text.size() - whole == 1) return std::nullopt;
  if (text.size() - whole >= 2) {
    const bool third = text.size() - whole == 3;
    const uint32_t a = value(whole), b = value(whole + 1), c = third ? value(whole + 2) : 0;
    seen |= a | b | c;
    *to++ = static_cast<char>(a << 2 | b >> 4);
    if (third) *to++ = static_cast<char>(b << 4 | c >> 2);
    if (((third ? c << 6 : b << 4) & 0xff) != 0) return std::nullopt;  // bits that nothing holds
  }
  if ((seen & kNotADigit) != 0) return std::nullopt;
  return std::string_view(out.data(), static_cast<size_t>(to - out.data()));
}

std::optional<std::string> DecodeBase64(std::string_view text, Base64 form) {
  std::string out(Base64DecodedLimit(text.size()), '\0');
  const auto bytes = DecodeBase64(text, form, out);
  if (!bytes) return std::nullopt;
  out.resize(bytes->size());
  return out;
}

std::string EncodeBase64(std::string_view bytes, Base64 form) {
  const std::string_view digits = form == Base64::kUrl ? kUrlDigits : kStandardDigits;
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = bytes.size() - i < 3 ? bytes.size() - i : 3;
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0);
    }
    for (size_t k = 0; k <= count; ++k) out += digits[group >> (18 - 6 * k) & 63];
    if (form == Base64::kStandard) out.append(3 - count, '=');
  }
  return out;
}

}  // namespace sluice
