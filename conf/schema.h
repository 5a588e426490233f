// How a struct is read from a tree: a table of fields, each a name and a type (conf/types.h), which
// reads one node or says what it expected. Reading a map by its table finds unknown, missing and
// wrong fields, all of them at once. Tables are const and live for the process; nothing here keeps
// a node. A table can also describe itself, as JSON Schema and for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"

namespace sluice::conf {

// A node being read, and how it was reached. The path is put together only for a message, so places
// must be read while their parents are on the stack.
struct Place {
  const Node& node;
  Diagnostics& diagnostics;
  const Place* parent = nullptr;
  std::string_view key{};   // in the parent map
  size_t index = kNoIndex;  // in the parent list

  static constexpr size_t kNoIndex = SIZE_MAX;

  Place Of(const Entry& entry) const { return {entry.value, diagnostics, this, entry.key}; }
  Place Of(size_t item) const { return {node.items[item], diagnostics, this, {}, item}; }

  std::string Path() const;  // "routes[0].upstream.nodes"; a root's own begins with its key
  void Fail(std::string message, std::string hint = {}) const;
  void FailAt(Position position, std::string message, std::string hint = {}) const;
  // "expected <what>, got the integer 5"
  std::nullopt_t Expected(std::string_view what, std::string hint = {}) const;
};

// "the integer 5", "the text \"abc\"", "an empty list".
std::string Describe(const Node& node);

// "a, b or c"
std::string JoinWords(const std::vector<std::string_view>& words);

// "did you mean \"uri\"?" for the nearest of `names`, or nothing when none is near.
std::string Suggest(std::string_view word, const std::vector<std::string_view>& names);

// What a field is, for those who write configurations.
struct FieldSchema;
struct TypeSchema {
  std::string json;                 // members of its JSON Schema: "type":"integer","minimum":1
  std::string text;                 // for people: "an integer from 1"
  std::vector<FieldSchema> fields;  // of a map
};
struct FieldSchema {
  std::string_view name;
  std::string_view doc;
  TypeSchema type;
  std::string fallback;  // its default as JSON; empty: none
  bool required = false;
};

template <typename T>
struct Field {
  std::string_view name;
  std::function<void(const Place&, T&)> store;
  bool required = false;
  std::function<FieldSchema()> schema = {};  // empty: it is not described
};

template <typename T>
using Fields = std::vector<Field<T>>;

// A field that is read by `type` into a member.
template <typename T, typename Member, typename Type>
Field<T> Bind(std::string_view name, Member T::*member, Type type) {
  return {name, [member, type](const Place& place, T& out) {
            if (auto value = type(place)) out.*member = *std::move(value);
          }};
}

// A field that is checked and then not needed: descriptive ones.
template <typename T, typename Type>
Field<T> Accept(std::string_view name, Type type) {
  return {name, [type](const Place& place, T&) { (void)type(place); }};
}

template <typename T>
Field<T> Required(Field<T> field) {
  field.required = true;
  return field;
}

// Refuses anything but false, an empty map or an empty list: all the same as leaving it out.
bool RefuseNotBuilt(const Place& place);

template <typename T>
Field<T> NotBuilt(std::string_view name) {
  return {name, [](const Place& place, T&) { RefuseNotBuilt(place); }};
}

void FailUnknown(const Place& map, const Entry& entry, const std::vector<std::string_view>& names);

// Reads a map by its table. False when the node is not a map. `skipped`: a member that somebody
// else reads.
template <typename T>
bool ReadFields(const Place& place, const Fields<T>& fields, T& out,
                std::string_view skipped = {}) {
  if (!place.node.is_map()) {
    place.Expected("a map");
    return false;
  }
  for (const Entry& entry : place.node.entries) {
    const Field<T>* found = nullptr;
    for (const Field<T>& field : fields) {
      if (field.name == entry.key) found = &field;
    }
    if (found != nullptr) found->store(place.Of(entry), out);
    if (found != nullptr || entry.key == skipped) continue;
    std::vector<std::string_view> names;
    for (const Field<T>& field : fields) names.push_back(field.name);
    FailUnknown(place, entry, names);
  }
  for (const Field<T>& field : fields) {
    if (field.required && place.node.Find(field.name) == nullptr) {
      place.Fail("expected the field \"" + std::string(field.name) + "\", which is missing");
    }
  }
  return true;
}

template <typename T>
std::vector<FieldSchema> SchemaOf(const Fields<T>& fields) {
  std::vector<FieldSchema> all;
  for (const Field<T>& field : fields) {
    if (!field.schema) continue;
    all.push_back(field.schema());
    all.back().required = field.required;
  }
  return all;
}

// The members of the JSON Schema of a map with these fields and no others.
std::string SchemaJson(const std::vector<FieldSchema>& fields);

}  // namespace sluice::conf
