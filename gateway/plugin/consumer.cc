#include "gateway/plugin/consumer.h"

#include <algorithm>

#include "gateway/base/text.h"

namespace sluice {
namespace {

char LowerDash(char c) { return c == '_' ? '-' : AsciiLower(c); }

// `prefix` is in lower case.
bool StartsWith(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), name.begin(),
                    [](char wanted, char c) { return wanted == LowerDash(c); });
}

bool IsIdentityField(const HeaderField& field) {
  constexpr std::string_view kIdentifier = "x-credential-identifier";
  return StartsWith(field.name, "x-consumer-") ||
         (field.name.size() == kIdentifier.size() && StartsWith(field.name, kIdentifier));
}

}  // namespace

void RemoveIdentityFields(HeaderList& fields) { fields.RemoveIf(IsIdentityField); }

}  // namespace sluice
