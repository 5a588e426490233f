#include "plugins/support/limit_key.h"

#include "plugins/support/templates.h"

namespace sluice::plugins {

LimitKey LimitKey::Make(std::string_view text, Type type, const conf::Place& place,
                        std::string_view field) {
  std::string pattern;
  switch (type) {
    case Type::kVariable:
      pattern.append("${").append(text).append("}");
      break;
    case Type::kCombination:
      pattern = text;
      break;
    case Type::kConstant:
      for (const char c : text) pattern.append(c == '$' ? "\\$" : std::string(1, c));
      break;
  }
  LimitKey key;
  key.text_ = CompileTemplate(pattern, place, field);
  return key;
}

std::string_view LimitKey::Find(RequestContext& request) const {
  return text_.is_constant() ? std::string_view(text_.text()) : request.ExpandKnown(text_);
}

std::string_view LimitKey::Of(RequestContext& request) const {
  const std::string_view key = Find(request);
  return key.data() == nullptr ? request.view().client_text : key;
}

}  // namespace sluice::plugins
