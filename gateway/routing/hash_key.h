// What a hashing balancer (chash, maglev) hashes of a request: a variable, a header field, a
// cookie, or several variables in one text. Compiled with the snapshot, which owns it; immutable.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/result.h"
#include "gateway/http/variables.h"

namespace sluice {

class HashKey {
 public:
  // An unknown variable, or a name that cannot be a field's or a cookie's, is an error that says
  // what is expected.
  static Result<HashKey> Make(const conf::HashKeyConfig& config);

  // The key of `request`; empty when it has none of what is asked for: the balancer then does
  // without. Valid as long as the request and `scratch`.
  std::string_view Of(const RequestView& request, std::string& scratch) const;

 private:
  // Literal text and the variable that follows it; only the last may have no variable.
  struct Piece {
    std::string literal;
    std::optional<Variable> variable;
  };

  static Result<std::vector<Piece>> Compile(std::string_view text);

  std::vector<Piece> pieces_;  // never empty
};

}  // namespace sluice
