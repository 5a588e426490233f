// Result<T>: a value or an Error, and Status: success or an Error. Both are [[nodiscard]], which
// tl::expected itself is not. End of stream, would-block and "try elsewhere" are values, not
// errors.
#pragma once

#include <cstdlib>
#include <utility>

#include <tl/expected.hpp>

#include "gateway/base/error.h"

namespace sluice {

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error) : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}  // NOLINT
};

using Status = Result<void>;

// Ends the process with file, line and text: for broken invariants only, never for input.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace sluice

#define SLUICE_CHECK(condition) \
  (static_cast<bool>(condition) ? void() : ::sluice::CheckFailed(__FILE__, __LINE__, #condition))

// Returns the error of a Status expression from the calling function.
#define SLUICE_TRY(expression)                                     \
  do {                                                             \
    if (auto try_status = (expression); !try_status.has_value()) { \
      return std::move(try_status).error();                        \
    }                                                              \
  } while (false)

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)
#define SLUICE_ASSIGN_INNER(result, declaration, expression) \
  auto result = (expression);                                \
  if (!result.has_value()) return std::move(result).error(); \
  declaration = std::move(*result)

// SLUICE_ASSIGN_OR_RETURN(auto x, MakeX()): binds the value or returns the error.
#define SLUICE_ASSIGN_OR_RETURN(declaration, expression) \
  SLUICE_ASSIGN_INNER(SLUICE_CONCAT(assign_result_, __LINE__), declaration, expression)
