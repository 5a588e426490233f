// Header fields in configurations: names are tokens, values text or numbers, as APISIX has them.
#pragma once

#include <algorithm>
#include <string_view>

#include "conf/types.h"
#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"

namespace sluice::plugins {

inline bool IsFieldName(std::string_view name) { return !name.empty() && IsToken(name); }

inline conf::TextLike FieldName() {
  return {"the name of a header field", IsFieldName, "^[^:]+$", {1, 256}};
}

// Such a name, or nothing for no field.
inline bool IsOptionalFieldName(std::string_view name) { return name.empty() || IsToken(name); }

inline conf::TextLike OptionalFieldName() {
  return {"the name of a header field", IsOptionalFieldName, "^[^:]*$", {0, 256}};
}

// Is it the same name for an upstream that takes '_' for '-', as those do that know fields as
// variables of an environment?
inline bool LooksLike(std::string_view name, std::string_view other) {
  const auto plain = [](char c) { return c == '_' ? '-' : AsciiLower(c); };
  return std::equal(name.begin(), name.end(), other.begin(), other.end(),
                    [&plain](char a, char b) { return plain(a) == plain(b); });
}

// {"Name": "value"}: the members are pairs in the order of the source.
inline conf::MapOf<conf::Scalar> HeaderFields(size_t min = 1) {
  return {.item = {},
          .min = min,
          .max = 100,
          .key_check = IsFieldName,
          .key_what = "the name of a header field"};
}

}  // namespace sluice::plugins
