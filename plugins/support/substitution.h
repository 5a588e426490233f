// Replacements of a regular expression's match, in the form of lua-resty's re.sub: $0 to $9, ${1},
// and "$$" for a dollar sign.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/routing/regex.h"

namespace sluice::plugins {

class Substitution {
 public:
  // An error for a '$' with something else behind it.
  static Result<Substitution> Make(std::string_view text);
  void AppendTo(std::string& out, const Regex::Groups& groups) const;

 private:
  struct Piece {
    std::string literal;  // in front of
    size_t group = 0;
  };
  std::vector<Piece> pieces_;
  std::string tail_;
};

// Which matches, and how long the result may become.
struct Replacing {
  bool all = false;  // not only the first
  size_t limit = size_t{1} << 20;
};

// `subject` with matches replaced, appended to `out`. False when the pattern took too long, or the
// result would be longer than the limit: then nothing was appended.
bool Replace(const Regex& regex, const Substitution& replacement, std::string_view subject,
             const Replacing& how, std::string& out);

}  // namespace sluice::plugins
