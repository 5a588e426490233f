// A user's regular expression, bounded in time for every subject. RE2 (linear) runs all it can
// compile; only what needs look-around or back-references goes to PCRE2 with a match limit.
// Immutable; used by any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/result.h"

namespace sluice {

class Regex {
 public:
  enum class Case : uint8_t { kSensitive, kInsensitive };
  enum class Outcome : uint8_t { kNoMatch, kMatch, kLimit };  // kLimit: gave up, nothing is known

  static constexpr size_t kMaxPattern = 4096;
  static constexpr size_t kMaxGroups = 10;  // with the whole match, which is group 0
  // Null data(): the group has not taken part.
  using Groups = std::array<std::string_view, kMaxGroups>;

  // Bytes, not code points, as APISIX compiles them. The error says what is wrong and where.
  static Result<Regex> Make(std::string_view pattern, Case sensitivity);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // Does it match anywhere in `subject`?
  Outcome Search(std::string_view subject) const;
  // The same from `begin` on, with the first groups of the first match.
  Outcome Find(std::string_view subject, size_t begin, Groups& groups) const;
  bool is_linear() const;  // runs in RE2

 private:
  struct Program;
  explicit Regex(std::unique_ptr<Program> program);

  std::unique_ptr<Program> program_;
};

}  // namespace sluice
