// Texts with $variables in configurations.
#pragma once

#include <string_view>
#include <utility>

#include "conf/schema.h"
#include "gateway/http/text_template.h"

namespace sluice::plugins {

// Of the member `field` of the map at `place`; a variable that does not exist is said there.
inline TextTemplate CompileTemplate(std::string_view text, const conf::Place& place,
                                    std::string_view field) {
  auto made = TextTemplate::Make(text);
  if (made.has_value()) return *std::move(made);
  const conf::Node* const node = place.node.Find(field);
  const conf::Place inner{node == nullptr ? place.node : *node, place.diagnostics, &place, field};
  inner.Fail(made.error().detail);
  return {};
}

}  // namespace sluice::plugins
