// Replacements of a regular expression's match, in the form of lua-resty's re.sub: $0 to $9, ${1},
// and "$$" for a dollar sign.
#pragma once

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

// `subject` with the first or with all matches replaced, appended to `out`. False when the pattern
// took too long: then nothing was appended.
bool Replace(const Regex& regex, const Substitution& replacement, std::string_view subject,
             bool all, std::string& out);

}  // namespace sluice::plugins
