// Fields of which a configuration has exactly one: JSON Schema's oneOf over `required`.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "conf/schema.h"

namespace sluice::plugins {

// True when one of `names` is there; otherwise says at `place` what was expected.
inline bool HasExactlyOne(const conf::Place& place, const std::vector<std::string_view>& names) {
  std::vector<std::string_view> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found),
               [&](std::string_view name) { return place.node.Find(name) != nullptr; });
  if (found.size() == 1) return true;
  place.Fail("expected one of the fields " + conf::JoinWords(names) + ", got " +
             (found.empty() ? "none" : std::to_string(found.size())));
  return false;
}

}  // namespace sluice::plugins
