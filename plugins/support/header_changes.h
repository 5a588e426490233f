// `headers` of proxy-rewrite and response-rewrite: {add, set, remove}, or in the old form a map of
// fields to set. Values may have $variables, and $1 … of a pattern that has matched.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/declaration.h"
#include "gateway/plugin/request_context.h"
#include "gateway/routing/regex.h"
#include "plugins/support/captures.h"

namespace sluice::plugins {

struct HeaderChanges {
  using Values = std::vector<std::pair<std::string, CaptureTemplate>>;
  Values add;
  Values set;
  std::vector<std::string> remove;
};

// The type of the field. `lines`: `add` is a list of "name: value" (response-rewrite), not a map.
struct HeaderChangesField {
  bool lines = false;
  std::optional<HeaderChanges> operator()(const conf::Place& place) const;
  conf::TypeSchema Schema() const;
};

// Applies them to something with AddHeader, SetHeader and RemoveHeader.
template <typename Message>
void Apply(const HeaderChanges& changes, RequestContext& request, const Regex::Groups& groups,
           Message& message) {
  for (const auto& [name, value] : changes.add) {
    message.AddHeader(name, value.Expand(request, groups));
  }
  for (const auto& [name, value] : changes.set) {
    message.SetHeader(name, value.Expand(request, groups));
  }
  for (const std::string& name : changes.remove) message.RemoveHeader(name);
}

}  // namespace sluice::plugins
