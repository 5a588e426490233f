// A route's uri as the router understands it: exact, a prefix (trailing "*"), or with parameters
// (":name" for one segment, "*name" for any number). Its text is in the normal form of request
// paths; a pattern that no normal path can match is refused.
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/base/result.h"

namespace sluice {

struct PathPattern {
  enum class Kind : uint8_t { kExact, kPrefix, kParameters };

  static constexpr size_t kMaxSize = 4096;

  Kind kind = Kind::kExact;
  uint16_t key_size = 0;  // the literal bytes that every matching path begins with
  std::string_view text;  // normal form

  std::string_view key() const { return text.substr(0, key_size); }

  // `uri` must outlive the pattern, and so must `arena`, where a changed text is put.
  static Result<PathPattern> Make(std::string_view uri, Arena& arena);

  // Precondition: `path` begins with key(), and equals it for kExact.
  bool Matches(std::string_view path) const;
};

}  // namespace sluice
