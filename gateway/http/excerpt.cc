#include "gateway/http/excerpt.h"

namespace sluice {

std::string Excerpt(std::string_view text) {
  constexpr size_t kLongest = 48;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) {
    if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xf];
    }
  }
  if (text.size() > kLongest) out += "...";
  out += '\'';
  return out;
}

}  // namespace sluice
