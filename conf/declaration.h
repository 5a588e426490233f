// Fields that describe themselves: one line gives decoding, limits, default, JSON Schema and a row
// of the docs. Plugins are declared with these; see docs/plugins/README.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "conf/schema.h"
#include "conf/types.h"
#include "gateway/base/json_writer.h"

namespace sluice::conf {

// A default as JSON; empty for what is better not said: nothing, empty texts and lists.
template <typename Type, typename Value>
std::string DefaultJson(const Type& type, const Value& value) {
  std::string out;
  JsonWriter json(out);
  if constexpr (requires { type.ValueJson(value); }) {
    return type.ValueJson(value);
  } else if constexpr (std::is_same_v<Value, bool>) {
    json.Bool(value);
  } else if constexpr (std::is_integral_v<Value>) {
    json.Integer(static_cast<int64_t>(value));
  } else if constexpr (std::is_floating_point_v<Value>) {
    json.Number(value);
  } else if constexpr (std::is_same_v<Value, Duration>) {
    json.Number(std::chrono::duration<double>(value).count());
  } else if constexpr (std::is_same_v<Value, std::string>) {
    if (!value.empty()) json.String(value);
  } else if constexpr (requires {
                         value.has_value();
                         *value;
                       }) {
    return value.has_value() ? DefaultJson(type, *value) : std::string();
  } else if constexpr (requires {
                         type.item;
                         value.begin()->size();
                       }) {
    for (const auto& item : value) {
      if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string>) {
        out += out.empty() ? "[" : ",";
        out += DefaultJson(type.item, item);
      }
    }
    if (!out.empty()) out += ']';
  }
  return out;
}

// The field `name`, read by `type` into `member`; its default is what a new T has there. `doc` says
// what it is for, in a sentence without the limits, which the type says.
template <typename T, typename Member, typename Type>
Field<T> Declare(std::string_view name, Member T::*member, Type type, std::string_view doc) {
  Field<T> field = Bind(name, member, type);
  field.schema = [name, member, type, doc] {
    return FieldSchema{name, doc, type.Schema(), DefaultJson(type, T().*member)};
  };
  return field;
}

}  // namespace sluice::conf
