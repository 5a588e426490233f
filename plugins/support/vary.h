// Vary of a response: on what of the request it depends (RFC 9110 12.5.5).
#pragma once

#include <algorithm>
#include <string_view>

#include "gateway/base/text.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

// Adds a field's name, unless it is there.
inline void AddVary(ResponseContext& response, std::string_view name) {
  const HeaderList& fields = response.head().fields;
  const bool there = std::any_of(fields.begin(), fields.end(), [name](const HeaderField& field) {
    return EqualsIgnoreCase(field.name, "Vary") &&
           (ListContains(field.value, name) || ListContains(field.value, "*"));
  });
  if (!there) response.AddHeader("Vary", name);
}

}  // namespace sluice::plugins
