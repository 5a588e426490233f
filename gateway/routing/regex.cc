#include "gateway/routing/regex.h"

#include <algorithm>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <re2/re2.h>

namespace sluice {

namespace {

constexpr uint32_t kMatchLimit = 10'000;
constexpr uint32_t kDepthLimit = 1'000;
constexpr uint32_t kHeapLimitKib = 1024;
constexpr int64_t kRe2Memory = 1 << 20;

struct FreePcre2 {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// What a PCRE2 match writes to; one a thread, so that matching allocates nothing.
struct Pcre2Scratch {
  std::unique_ptr<pcre2_match_data, FreePcre2> data{
      pcre2_match_data_create(Regex::kMaxGroups, nullptr)};
  std::unique_ptr<pcre2_match_context, FreePcre2> context{pcre2_match_context_create(nullptr)};

  Pcre2Scratch() {
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  }
};

std::string Pcre2Message(int code) {
  PCRE2_UCHAR text[256];
  const int size = pcre2_get_error_message(code, text, sizeof(text));
  return size < 0 ? "error " + std::to_string(code)
                  : std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
}

}  // namespace

struct Regex::Program {
  std::unique_ptr<const re2::RE2> re2;
  std::unique_ptr<pcre2_code, FreePcre2> pcre2;
};

Regex::Regex(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Result<Regex> Regex::Make(std::string_view pattern, Case sensitivity) {
  if (pattern.size() > kMaxPattern) {
    return GatewayError(ErrorCode::kInvalidConfig,
                        "expected a regular expression of at most " + std::to_string(kMaxPattern) +
                            " bytes, got " + std::to_string(pattern.size()));
  }
  auto program = std::make_unique<Program>();
  re2::RE2::Options options(re2::RE2::Latin1);
  options.set_log_errors(false);
  options.set_max_mem(kRe2Memory);
  options.set_case_sensitive(sensitivity == Case::kSensitive);
  program->re2 =
      std::make_unique<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (program->re2->ok()) return Regex(std::move(program));
  program->re2.reset();

  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t flags = PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C |
                         (sensitivity == Case::kInsensitive ? PCRE2_CASELESS : 0);
  program->pcre2.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     flags, &error, &offset, nullptr));
  if (program->pcre2 == nullptr) {
    return GatewayError(ErrorCode::kInvalidConfig,
                        "expected a regular expression, got \"" + std::string(pattern) +
                            "\": " + Pcre2Message(error) + " at offset " + std::to_string(offset));
  }
  // Where executable memory is forbidden this fails, and the interpreter is used instead.
  (void)pcre2_jit_compile(program->pcre2.get(), PCRE2_JIT_COMPLETE);
  return Regex(std::move(program));
}

Regex::Outcome Regex::Search(std::string_view subject) const {
  if (program_->re2 != nullptr) {
    const re2::StringPiece text(subject.data(), subject.size());
    return program_->re2->Match(text, 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0)
               ? Outcome::kMatch
               : Outcome::kNoMatch;
  }
  thread_local Pcre2Scratch scratch;
  const int result =
      pcre2_match(program_->pcre2.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                  subject.size(), 0, 0, scratch.data.get(), scratch.context.get());
  if (result >= 0) return Outcome::kMatch;
  return result == PCRE2_ERROR_NOMATCH ? Outcome::kNoMatch : Outcome::kLimit;
}

Regex::Outcome Regex::Find(std::string_view subject, size_t begin, Groups& groups) const {
  groups.fill({});
  if (program_->re2 != nullptr) {
    const re2::StringPiece text(subject.data(), subject.size());
    std::array<re2::StringPiece, kMaxGroups> found;
    const int count = std::min(program_->re2->NumberOfCapturingGroups() + 1, int{kMaxGroups});
    if (!program_->re2->Match(text, begin, text.size(), re2::RE2::UNANCHORED, found.data(),
                              count)) {
      return Outcome::kNoMatch;
    }
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      groups[i] = {found[i].data(), found[i].size()};
    }
    return Outcome::kMatch;
  }
  thread_local Pcre2Scratch scratch;
  const int result =
      pcre2_match(program_->pcre2.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                  subject.size(), begin, 0, scratch.data.get(), scratch.context.get());
  if (result < 0) return result == PCRE2_ERROR_NOMATCH ? Outcome::kNoMatch : Outcome::kLimit;
  const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(scratch.data.get());
  const size_t count = result == 0 ? kMaxGroups : static_cast<size_t>(result);
  for (size_t i = 0; i < count; ++i) {
    if (ends[2 * i] == PCRE2_UNSET) continue;
    groups[i] = subject.substr(ends[2 * i], ends[2 * i + 1] - ends[2 * i]);
  }
  return Outcome::kMatch;
}

bool Regex::is_linear() const { return program_->re2 != nullptr; }

}  // namespace sluice
