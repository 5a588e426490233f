// How a struct is read from a tree: a table of fields, each a name and a type. A type is a value
// (Text{.max = 256}, Integer<int>{1, 512}) that reads one node or says what it expected. Reading a
// map by its table finds unknown, missing and wrong fields, all of them at once. Tables are const
// and live for the process; nothing here keeps a node.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "gateway/base/time.h"

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

  std::string Path() const;  // "routes[0].upstream.nodes"
  void Fail(std::string message, std::string hint = {}) const;
  void FailAt(Position position, std::string message, std::string hint = {}) const;
  // "expected <what>, got the integer 5"
  std::nullopt_t Expected(std::string_view what, std::string hint = {}) const;
};

// "the integer 5", "the text \"abc\"", "an empty list".
std::string Describe(const Node& node);

// "did you mean \"uri\"?" for the nearest of `names`, or nothing when none is near.
std::string Suggest(std::string_view word, const std::vector<std::string_view>& names);

template <typename T>
struct Field {
  std::string_view name;
  std::function<void(const Place&, T&)> store;
  bool required = false;
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

// Reads a map by its table. False when the node is not a map.
template <typename T>
bool ReadFields(const Place& place, const Fields<T>& fields, T& out) {
  if (!place.node.is_map()) {
    place.Expected("a map");
    return false;
  }
  for (const Entry& entry : place.node.entries) {
    const Field<T>* found = nullptr;
    for (const Field<T>& field : fields) {
      if (field.name == entry.key) found = &field;
    }
    if (found != nullptr) {
      found->store(place.Of(entry), out);
      continue;
    }
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

// --- types ---------------------------------------------------------------------------------------

struct Boolean {
  std::optional<bool> operator()(const Place& place) const;
};

// Text without control characters; lengths in characters, as JSON Schema counts.
struct Text {
  size_t min = 1;
  size_t max = 4096;
  std::optional<std::string> operator()(const Place& place) const;
};

std::optional<int64_t> ReadInteger(const Place& place, int64_t min, int64_t max);

template <typename T>
struct Integer {
  int64_t min = std::numeric_limits<T>::min();
  int64_t max = std::numeric_limits<T>::max();
  std::optional<T> operator()(const Place& place) const {
    const auto value = ReadInteger(place, min, max);
    return value ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  }
};

// APISIX's durations: a number of seconds. `positive`: above zero.
struct Seconds {
  bool positive = true;
  std::optional<Duration> operator()(const Place& place) const;
};

// The gateway section's durations: "10s", "500ms", "2m", "1h" or a number of seconds.
struct TimeSpan {
  Duration min = milliseconds(1);
  Duration max = hours(24);
  std::optional<Duration> operator()(const Place& place) const;
};

// "10MB" (powers of 1000), "64KiB" (powers of 1024) or a number of bytes.
template <typename T>
struct ByteSize;
std::optional<uint64_t> ReadByteSize(const Place& place, uint64_t min, uint64_t max);

template <typename T>
struct ByteSize {
  uint64_t min = 0;
  uint64_t max = std::numeric_limits<T>::max();
  std::optional<T> operator()(const Place& place) const {
    const auto value = ReadByteSize(place, min, max);
    return value ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  }
};

// One of some words; those of `not_built` are known but refused.
template <typename T>
struct Choice {
  std::vector<std::pair<std::string_view, T>> values;
  std::vector<std::string_view> not_built = {};
  std::optional<T> operator()(const Place& place) const;
};
void FailChoice(const Place& place, const std::vector<std::string_view>& words,
                const std::vector<std::string_view>& not_built);

template <typename T>
std::optional<T> Choice<T>::operator()(const Place& place) const {
  std::vector<std::string_view> words;
  for (const auto& [word, value] : values) {
    if (place.node.is_string() && place.node.text == word) return value;
    words.push_back(word);
  }
  FailChoice(place, words, not_built);
  return std::nullopt;
}

// A list whose items are of one type. `unique` compares the items' text.
template <typename Type>
struct ListOf {
  Type item;
  size_t min = 0;
  bool unique = true;

  using Value =
      typename decltype(std::declval<const Type&>()(std::declval<const Place&>()))::value_type;
  std::optional<std::vector<Value>> operator()(const Place& place) const {
    const Node& node = place.node;
    if (!node.is_list() || node.items.size() < min) {
      return place.Expected(min == 0 ? "a list" : "a list that is not empty");
    }
    std::vector<Value> values;
    std::unordered_set<std::string_view> seen;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const Place inner = place.Of(i);
      auto value = item(inner);
      if (!value) continue;
      if (unique && !seen.insert(inner.node.text).second) {
        inner.Fail("expected different items, got \"" + inner.node.text + "\" twice");
        continue;
      }
      values.push_back(*std::move(value));
    }
    return values;
  }
};

// One item, as a list: for `host` beside `hosts`.
template <typename Type>
struct OneOf {
  Type item;
  auto operator()(const Place& place) const {
    using Value = typename ListOf<Type>::Value;
    auto value = item(place);
    return value ? std::optional<std::vector<Value>>({*std::move(value)}) : std::nullopt;
  }
};

// A map that is read by its own table.
template <typename T>
struct Record {
  const Fields<T>& fields;
  std::optional<T> operator()(const Place& place) const {
    T value;
    return ReadFields(place, fields, value) ? std::optional<T>(std::move(value)) : std::nullopt;
  }
};

}  // namespace sluice::conf
