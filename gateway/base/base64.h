// Base64 (RFC 4648), read strictly: there is one text for each sequence of bytes, and only that one
// is taken. White space, a wrong length, wrong padding and trailing bits that are not zero are all
// refused, so that no two texts can stand for the same credentials. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

enum class Base64 {
  kStandard,  // section 4: '+' and '/', padded with '='
  kUrl,       // section 5: '-' and '_', never padded (RFC 7515, section 2)
};

// How many bytes decoding may write at most.
constexpr size_t Base64DecodedLimit(size_t text_size) { return text_size / 4 * 3 + 3; }

// The decoded bytes, which are put at the start of `out`, of at least Base64DecodedLimit bytes.
std::optional<std::string_view> DecodeBase64(std::string_view text, Base64 form,
                                             std::span<char> out);
std::optional<std::string> DecodeBase64(std::string_view text, Base64 form);

std::string EncodeBase64(std::string_view bytes, Base64 form);

}  // namespace sluice
