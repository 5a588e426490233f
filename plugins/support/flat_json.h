// A JSON object that a client sent (the header and the claims of a token), read in place without an
// allocation for each value: the values lie in one list, in document order, and their texts in the
// buffer that was read. Limited in depth and number; a member that is there twice is refused, since
// another reader of the same token may take the other. Reused from token to token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"

namespace sluice::plugins {

class FlatJson {
 public:
  static constexpr size_t kMaxDepth = 16;
  static constexpr size_t kMaxValues = 512;

  enum class Kind : uint8_t { kNull, kBool, kInteger, kNumber, kString, kList, kMap };

  struct Value {
    Kind kind = Kind::kNull;
    bool boolean = false;
    uint32_t end = 0;       // index after the last value that lies within this one
    int64_t integer = 0;    // kInteger
    double number = 0;      // kNumber: all others, and integers too large for 64 bits
    std::string_view name;  // of a member of a map
    std::string_view text;  // kString; without NUL
  };

  FlatJson();
  ~FlatJson();
  FlatJson(FlatJson&&) noexcept;
  FlatJson& operator=(FlatJson&&) noexcept;

  // Reads the `size` bytes at `text`, which are changed and must live as long as the values are
  // used; text[size] must be NUL. Refuses what is not an object in UTF-8 of RFC 8259.
  Status Parse(char* text, size_t size);

  // A member of the object, or of a map within; null when it is not there.
  const Value* Find(std::string_view name) const;
  const Value* Find(const Value& map, std::string_view name) const;
  // The values directly within a list or map: from First(x), by Next(x, y), until null.
  const Value* First(const Value& outer) const;
  const Value* Next(const Value& outer, const Value& inner) const;
  // All values; the first is the object itself. Empty unless Parse succeeded.
  const std::vector<Value>& values() const { return values_; }

 private:
  class Events;
  struct Reader;

  std::vector<Value> values_;
  std::unique_ptr<Reader> reader_;
};

std::string_view KindName(FlatJson::Kind kind);  // "text", "a list", …

}  // namespace sluice::plugins
