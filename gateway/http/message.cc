#include "gateway/http/message.h"

#include <array>
#include <cstddef>

namespace sluice {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Method::kCount)> kMethodNames = {
    "", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PURGE",
};
static_assert(kMethodNames.back() == "PURGE", "one name for each Method, in the same order");

Method MethodIf(std::string_view name, Method method) {
  return name == MethodName(method) ? method : Method::kOther;
}

}  // namespace

Method FindMethod(std::string_view name) {
  if (name.size() < 3) return Method::kOther;
  switch (name[0]) {
    case 'G':
      return MethodIf(name, Method::kGet);
    case 'H':
      return MethodIf(name, Method::kHead);
    case 'D':
      return MethodIf(name, Method::kDelete);
    case 'O':
      return MethodIf(name, Method::kOptions);
    case 'C':
      return MethodIf(name, Method::kConnect);
    case 'T':
      return MethodIf(name, Method::kTrace);
    case 'P':
      switch (name[1]) {
        case 'O':
          return MethodIf(name, Method::kPost);
        case 'A':
          return MethodIf(name, Method::kPatch);
        default:
          return name[2] == 'T' ? MethodIf(name, Method::kPut) : MethodIf(name, Method::kPurge);
      }
    default:
      return Method::kOther;
  }
}

std::string_view MethodName(Method method) { return kMethodNames[static_cast<size_t>(method)]; }

}  // namespace sluice
