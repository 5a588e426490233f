// The types of fields: values (Text{.max = 256}, Integer<int>{1, 512}) that read one node or say
// what they expected, and that describe themselves (Schema) for docs and JSON Schema. See
// conf/schema.h for the tables they stand in. A type of one's own is a struct with the same two
// functions; it may be in any folder above this one.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "conf/schema.h"
#include "gateway/base/time.h"

namespace sluice::conf {

struct Boolean {
  std::optional<bool> operator()(const Place& place) const;
  TypeSchema Schema() const { return {"\"type\":\"boolean\"", "true or false", {}}; }
};

// Text; lengths in characters, as JSON Schema counts. Control characters are refused, but for line
// ends and tabs in a text of several `lines`.
struct Text {
  size_t min = 1;
  size_t max = 4096;
  bool lines = false;
  std::optional<std::string> operator()(const Place& place) const;
  TypeSchema Schema() const;
};

// Text that passes `check`; `pattern` says the same in JSON Schema.
struct TextLike {
  std::string_view what;  // "a path that begins with /"
  bool (*check)(std::string_view text);
  std::string_view pattern;
  Text text = {};
  std::optional<std::string> operator()(const Place& place) const;
  TypeSchema Schema() const;
};

// Text, or a number as it is written: APISIX's values of header fields.
struct Scalar {
  size_t max = 4096;
  std::optional<std::string> operator()(const Place& place) const;
  TypeSchema Schema() const;
};

std::optional<int64_t> ReadInteger(const Place& place, int64_t min, int64_t max);
TypeSchema IntegerSchema(int64_t min, int64_t max);

template <typename T>
struct Integer {
  int64_t min = std::numeric_limits<T>::min();
  int64_t max = std::numeric_limits<T>::max();
  std::optional<T> operator()(const Place& place) const {
    const auto value = ReadInteger(place, min, max);
    return value ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  }
  TypeSchema Schema() const { return IntegerSchema(min, max); }
};

struct Number {
  double min = 0;
  double max = 1e15;
  bool above_min = false;  // min itself is refused
  std::optional<double> operator()(const Place& place) const;
  TypeSchema Schema() const;
};

// APISIX's durations: a number of seconds. `positive`: above zero.
struct Seconds {
  bool positive = true;
  double max = 1e9;  // a Duration holds nine times as much
  std::optional<Duration> operator()(const Place& place) const;
  TypeSchema Schema() const;
};

// The gateway section's durations: "10s", "500ms", "2m", "1h" or a number of seconds.
struct TimeSpan {
  Duration min = milliseconds(1);
  Duration max = hours(24);
  std::optional<Duration> operator()(const Place& place) const;
};

// "10MB" (powers of 1000), "64KiB" (powers of 1024) or a number of bytes.
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
void FailChoice(const Place& place, const std::vector<std::string_view>& words,
                const std::vector<std::string_view>& not_built);
TypeSchema ChoiceSchema(const std::vector<std::string_view>& words);

template <typename T>
struct Choice {
  std::vector<std::pair<std::string_view, T>> values;
  std::vector<std::string_view> not_built = {};
  std::optional<T> operator()(const Place& place) const {
    for (const auto& [word, value] : values) {
      if (place.node.is_string() && place.node.text == word) return value;
    }
    FailChoice(place, Words(), not_built);
    return std::nullopt;
  }
  TypeSchema Schema() const { return ChoiceSchema(Words()); }
  std::string ValueJson(const T& wanted) const {
    for (const auto& [word, value] : values) {
      if (value == wanted) return '"' + std::string(word) + '"';
    }
    return {};
  }
  std::vector<std::string_view> Words() const {
    std::vector<std::string_view> words;
    for (const auto& [word, value] : values) words.push_back(word);
    return words;
  }
};

// A list whose items are of one type. `unique` compares the items' text.
TypeSchema ListSchema(const TypeSchema& item, size_t min, size_t max, bool unique);
bool IsListOfSize(const Place& place, size_t min, size_t max);  // or says what was expected

template <typename Type>
struct ListOf {
  Type item;
  size_t min = 0;
  bool unique = true;
  size_t max = SIZE_MAX;

  using Value =
      typename decltype(std::declval<const Type&>()(std::declval<const Place&>()))::value_type;
  std::optional<std::vector<Value>> operator()(const Place& place) const {
    if (!IsListOfSize(place, min, max)) return std::nullopt;
    std::vector<Value> values;
    std::unordered_set<std::string_view> seen;
    for (size_t i = 0; i < place.node.items.size(); ++i) {
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
  TypeSchema Schema() const { return ListSchema(item.Schema(), min, max, unique); }
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

// A map from any keys that `key_check` takes to values of one type, in the order of the source.
TypeSchema MapSchema(const TypeSchema& item, size_t min);
bool IsMapOfSize(const Place& place, size_t min, size_t max);

template <typename Type>
struct MapOf {
  Type item;
  size_t min = 0;
  size_t max = 1000;
  bool (*key_check)(std::string_view key) = nullptr;  // null: any
  std::string_view key_what = "";                     // "a field name"

  using Value = typename ListOf<Type>::Value;
  std::optional<std::vector<std::pair<std::string, Value>>> operator()(const Place& place) const {
    if (!IsMapOfSize(place, min, max)) return std::nullopt;
    std::vector<std::pair<std::string, Value>> values;
    for (const Entry& entry : place.node.entries) {
      const Place inner = place.Of(entry);
      if (key_check != nullptr && !key_check(entry.key)) {
        inner.FailAt(entry.key_position, "expected " + std::string(key_what) + " as key");
        continue;
      }
      if (auto value = item(inner)) values.emplace_back(entry.key, *std::move(value));
    }
    return values;
  }
  TypeSchema Schema() const { return MapSchema(item.Schema(), min); }
};

// A map that is read by its own table.
template <typename T>
struct Record {
  const Fields<T>& fields;
  std::optional<T> operator()(const Place& place) const {
    T value;
    return ReadFields(place, fields, value) ? std::optional<T>(std::move(value)) : std::nullopt;
  }
  TypeSchema Schema() const {
    std::vector<FieldSchema> inner = SchemaOf(fields);
    std::string json = SchemaJson(inner);
    return {std::move(json), "a map", std::move(inner)};
  }
};

// Any value, as it stands in the document, which outlives what is decoded from it.
struct AnyValue {
  std::optional<const Node*> operator()(const Place& place) const { return &place.node; }
  TypeSchema Schema() const { return {"", "any value", {}}; }
};

}  // namespace sluice::conf
