// Header fields in configurations: names are tokens, values text or numbers, as APISIX has them.
#pragma once

#include <string_view>

#include "conf/types.h"
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

// {"Name": "value"}: the members are pairs in the order of the source.
inline conf::MapOf<conf::Scalar> HeaderFields(size_t min = 1) {
  return {.item = {},
          .min = min,
          .max = 100,
          .key_check = IsFieldName,
          .key_what = "the name of a header field"};
}

}  // namespace sluice::plugins
