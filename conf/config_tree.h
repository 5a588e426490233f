// A parsed YAML or JSON document: values with their place in the source. Reading is strict, where
// yaml-cpp is lax: duplicate keys, unclosed quotes, trailing content, several documents, deep or
// exploding input are all diagnosed. Plain scalars follow the YAML 1.2 core schema (so 010 is ten,
// yes is text).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conf/diagnostics.h"

namespace sluice::conf {

struct Entry;

struct Node {
  enum class Kind : uint8_t { kNull, kBool, kInteger, kNumber, kString, kList, kMap };

  Kind kind = Kind::kNull;
  bool boolean = false;
  bool plain = false;   // a scalar that stood in YAML without quotes
  bool hidden = false;  // holds a value from the environment or a file, perhaps a secret
  bool broken = false;  // its substitution failed, which was diagnosed: say no more about it
  int64_t integer = 0;
  double number = 0;           // also set for kInteger
  std::string text;            // kString: the value; other scalars: as written
  std::vector<Node> items;     // kList
  std::vector<Entry> entries;  // kMap, in source order, keys unique
  Position position;

  bool is_map() const { return kind == Kind::kMap; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_string() const { return kind == Kind::kString; }
  const Node* Find(std::string_view key) const;  // null when absent or not a map
};

struct Entry {
  std::string key;
  Position key_position;
  Node value;
};

std::string_view KindName(Node::Kind kind);  // "a map", "a list", "text", …

// What a plain scalar means in the YAML 1.2 core schema. `number` is infinite or NaN for .inf, .nan
// and what no double can hold.
Node ReadPlainScalar(std::string text, Position position);

struct TreeLimits {
  size_t bytes = 64 * 1024 * 1024;
  size_t nodes = 4'000'000;  // after alias expansion
  size_t depth = 64;
};

// Each returns the root; on failure at least one diagnostic was added and the root is kNull.
Node ParseYaml(std::string_view text, uint32_t file, Diagnostics& diagnostics,
               const TreeLimits& limits = {});
Node ParseJson(std::string_view text, uint32_t file, Diagnostics& diagnostics,
               const TreeLimits& limits = {});

// The document as compact JSON; ParseJson(ToJson(x)) has the same values.
std::string ToJson(const Node& node);

}  // namespace sluice::conf
