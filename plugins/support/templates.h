// Texts with $variables and conditions over them in configurations. Plugins do not see a form that
// a request has in its body (post_arg_*): what names one is refused, as it would never be there.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "conf/schema.h"
#include "gateway/base/result.h"
#include "gateway/http/text_template.h"
#include "gateway/routing/expression.h"

namespace sluice::plugins {

// An error for a variable that does not exist, or needs the body.
inline Result<TextTemplate> MakeTemplate(std::string_view text) {
  SLUICE_ASSIGN_OR_RETURN(TextTemplate made, TextTemplate::Make(text));
  if (!made.needs_body()) return made;
  return GatewayError(ErrorCode::kInvalidConfig, "expected variables that do not need the body");
}

// Of the member `field` of the map at `place`, where an error is said.
inline TextTemplate CompileTemplate(std::string_view text, const conf::Place& place,
                                    std::string_view field) {
  auto made = MakeTemplate(text);
  if (made.has_value()) return *std::move(made);
  const conf::Node* const node = place.node.Find(field);
  const conf::Place inner{node == nullptr ? place.node : *node, place.diagnostics, &place, field};
  inner.Fail(made.error().detail);
  return {};
}

// The condition `node` in the member `field` of the map at `place`; null: refused, which is said.
inline std::unique_ptr<const Expression> CompileExpression(const conf::Node& node,
                                                           const conf::Place& place,
                                                           std::string_view field) {
  auto made = Expression::Make(node, place.Path() + "." + std::string(field), place.diagnostics);
  if (made == nullptr || !made->needs_body()) return made;
  place.Fail(std::string(field) +
             ": expected no post_arg_ variables: bodies are not read before that");
  return nullptr;
}

}  // namespace sluice::plugins
