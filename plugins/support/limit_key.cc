#include "plugins/support/limit_key.h"

#include "gateway/plugin/shared_limits.h"
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
  if (key.data() != nullptr) return key;
  // Hashed, so that nobody can use up what another has by sending his address as a key.
  const Hash128 hash = request.services().limits().Within(Hash128{}, request.view().client_text);
  return request.arena().Copy({reinterpret_cast<const char*>(&hash), sizeof(hash)});
}

}  // namespace sluice::plugins
