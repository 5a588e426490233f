// Several regular expressions as one rule: does any of them match?
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/schema.h"
#include "conf/types.h"
#include "gateway/routing/regex.h"

namespace sluice::plugins {

class PatternList {
 public:
  // Of the member `field` of the map at `place`, where patterns that are wrong are said.
  static PatternList Make(const std::vector<std::string>& patterns, Regex::Case sensitivity,
                          const conf::Place& place, std::string_view field);

  // kLimit: none has matched, and at least one gave up, so nothing is known.
  Regex::Outcome Search(std::string_view subject) const;
  bool empty() const { return patterns_.empty(); }

 private:
  std::vector<Regex> patterns_;
};

// The type of such a field.
inline conf::ListOf<conf::Text> Patterns(size_t min = 1) {
  return {.item = {1, Regex::kMaxPattern}, .min = min, .unique = true, .max = 1000};
}

}  // namespace sluice::plugins
