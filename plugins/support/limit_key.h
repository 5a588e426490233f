// What a limit counts by: APISIX's `key` and `key_type`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "conf/types.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

class LimitKey {
 public:
  enum class Type : uint8_t {
    kVariable,     // its name without '$'
    kCombination,  // a text with $variables
    kConstant,     // one counter for all
  };

  LimitKey() = default;
  // `text` is the member `field` of the map at `place`, where an unknown variable is said.
  static LimitKey Make(std::string_view text, Type type, const conf::Place& place,
                       std::string_view field);

  // The request's key; null data() when it has none of the variables.
  std::string_view Find(RequestContext& request) const;
  // The same, but then one of the client's address, as in APISIX.
  std::string_view Of(RequestContext& request) const;

 private:
  TextTemplate text_;
};

inline conf::Choice<LimitKey::Type> KeyTypes(bool with_constant = false) {
  conf::Choice<LimitKey::Type> types{
      {{"var", LimitKey::Type::kVariable}, {"var_combination", LimitKey::Type::kCombination}}};
  if (with_constant) types.values.emplace_back("constant", LimitKey::Type::kConstant);
  return types;
}

}  // namespace sluice::plugins
