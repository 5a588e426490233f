// Writes JSON into a string, member by member, with the commas and escapes done: for error bodies,
// access logs, `--json` output and the canonical configuration document. It builds no tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);

  // Bytes that are not UTF-8 are written as U+FFFD, so that the result is always valid JSON.
  JsonWriter& String(std::string_view value);
  JsonWriter& Integer(int64_t value);
  JsonWriter& Unsigned(uint64_t value);
  JsonWriter& Number(double value);  // not finite: null
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  JsonWriter& Raw(std::string_view json);  // already JSON

  JsonWriter& Member(std::string_view key, std::string_view value) {
    return Key(key).String(value);
  }
  JsonWriter& Member(std::string_view key, const char* value) { return Key(key).String(value); }
  JsonWriter& Member(std::string_view key, int64_t value) { return Key(key).Integer(value); }
  JsonWriter& Member(std::string_view key, uint64_t value) { return Key(key).Unsigned(value); }
  JsonWriter& Member(std::string_view key, int value) { return Key(key).Integer(value); }
  JsonWriter& Member(std::string_view key, bool value) { return Key(key).Bool(value); }

 private:
  void Comma();

  std::string& out_;
  bool first_ = true;  // nothing yet in the innermost object or array, or a key was just written
};

}  // namespace sluice
