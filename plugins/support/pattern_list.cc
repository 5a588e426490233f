#include "plugins/support/pattern_list.h"

#include <utility>

namespace sluice::plugins {

PatternList PatternList::Make(const std::vector<std::string>& patterns, Regex::Case sensitivity,
                              const conf::Place& place, std::string_view field) {
  PatternList made;
  const conf::Node* const list = place.node.Find(field);
  const conf::Place at_list{list == nullptr ? place.node : *list, place.diagnostics, &place, field};
  for (size_t i = 0; i < patterns.size(); ++i) {
    auto pattern = Regex::Make(patterns[i], sensitivity);
    if (pattern.has_value()) {
      made.patterns_.push_back(*std::move(pattern));
    } else if (i < at_list.node.items.size()) {
      at_list.Of(i).Fail(pattern.error().detail);
    } else {
      at_list.Fail(pattern.error().detail);
    }
  }
  return made;
}

Regex::Outcome PatternList::Search(std::string_view subject) const {
  auto outcome = Regex::Outcome::kNoMatch;
  for (const Regex& pattern : patterns_) {
    const Regex::Outcome one = pattern.Search(subject);
    if (one == Regex::Outcome::kMatch) return one;
    if (one == Regex::Outcome::kLimit) outcome = one;
  }
  return outcome;
}

}  // namespace sluice::plugins
