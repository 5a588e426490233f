#include "plugins/support/header_changes.h"

#include <algorithm>

#include "gateway/base/text.h"
#include "plugins/support/header_fields.h"

namespace sluice::plugins {
namespace {

// A value, or a list of values that are added one by one.
struct FieldValues {
  std::optional<std::vector<std::string>> operator()(const conf::Place& place) const {
    if (place.node.is_list()) return conf::ListOf<conf::Scalar>{{}, 1, false, 100}(place);
    auto value = conf::Scalar{}(place);
    return value ? std::optional<std::vector<std::string>>({*std::move(value)}) : std::nullopt;
  }
};

// "Name: value", as response-rewrite adds fields.
struct FieldLine {
  std::optional<std::pair<std::string, std::vector<std::string>>> operator()(
      const conf::Place& place) const {
    const std::string& text = place.node.text;
    const size_t colon = text.find(':');
    if (place.node.is_string() && colon != std::string::npos &&
        IsFieldName(text.substr(0, colon))) {
      const std::string_view value = TrimOws(std::string_view(text).substr(colon + 1));
      return std::pair(text.substr(0, colon), std::vector<std::string>{std::string(value)});
    }
    return place.Expected("a field such as \"Name: value\"");
  }
};

using Raw = std::vector<std::pair<std::string, std::vector<std::string>>>;

conf::MapOf<FieldValues> FieldMap() {
  return {.item = {},
          .min = 1,
          .max = 100,
          .key_check = IsFieldName,
          .key_what = "the name of a header field"};
}

void Compile(const Raw& raw, const conf::Place& place, HeaderChanges::Values& to) {
  for (const auto& [name, values] : raw) {
    for (const std::string& value : values) {
      auto made = CaptureTemplate::Make(value);
      if (made.has_value()) {
        to.emplace_back(name, *std::move(made));
      } else {
        place.Fail(name + ": " + made.error().detail);
      }
    }
  }
}

struct Parts {
  Raw add;
  Raw set;
  std::vector<std::string> remove;
};

conf::Fields<Parts> PartFields(bool lines) {
  using T = Parts;
  return {
      lines ? conf::Bind("add", &T::add, conf::ListOf<FieldLine>{{}, 1, false, 100})
            : conf::Bind("add", &T::add, FieldMap()),
      conf::Bind("set", &T::set, FieldMap()),
      conf::Bind("remove", &T::remove, conf::ListOf<conf::TextLike>{FieldName(), 1, true, 100}),
  };
}

bool IsPart(const conf::Entry& entry) {
  return (entry.key == "add" || entry.key == "set" || entry.key == "remove") &&
         (entry.value.is_map() || entry.value.is_list());
}

}  // namespace

std::optional<HeaderChanges> HeaderChangesField::operator()(const conf::Place& place) const {
  const auto& entries = place.node.entries;
  Parts parts;
  if (std::any_of(entries.begin(), entries.end(), IsPart)) {
    if (!conf::ReadFields(place, PartFields(lines), parts)) return std::nullopt;
  } else if (auto set = FieldMap()(place)) {
    parts.set = *std::move(set);
  } else {
    return std::nullopt;
  }
  HeaderChanges changes;
  Compile(parts.add, place, changes.add);
  Compile(parts.set, place, changes.set);
  changes.remove = std::move(parts.remove);
  return changes;
}

conf::TypeSchema HeaderChangesField::Schema() const {
  return {"\"type\":\"object\",\"minProperties\":1",
          lines
              ? "`{add: [\"Name: value\"], set: {Name: value}, remove: [Name]}`, or `{Name: value}`"
              : "`{add: {Name: value}, set: {Name: value}, remove: [Name]}`, or `{Name: value}`",
          {}};
}

}  // namespace sluice::plugins
