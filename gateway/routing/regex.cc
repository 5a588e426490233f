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

// What a match in PCRE2 may cost over all places where it can begin, because its own limits start
// anew at each of them. Bytes that are passed over cost 1, items of the pattern that are tried (a
// callout each) more.
constexpr uint64_t kItemCost = 16;
constexpr uint64_t kCostOfMatch = 1'000'000;
constexpr uint64_t kCostOfByte = 64;  // more for each byte of the subject

struct FreePcre2 {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

struct Budget {
  uint64_t left = 0;
  size_t position = 0;
};

int Spend(pcre2_callout_block* block, void* budget_of_match) noexcept {
  Budget& budget = *static_cast<Budget*>(budget_of_match);
  const size_t from = std::exchange(budget.position, block->current_position);
  const uint64_t cost =
      kItemCost + std::max(from, budget.position) - std::min(from, budget.position);
  if (cost > budget.left) return PCRE2_ERROR_MATCHLIMIT;
  budget.left -= cost;
  return 0;
}

// What a PCRE2 match writes to; one a thread, so that matching allocates nothing.
struct Pcre2Scratch {
  Budget budget;
  std::unique_ptr<pcre2_match_data, FreePcre2> data{
      pcre2_match_data_create(Regex::kMaxGroups, nullptr)};
  std::unique_ptr<pcre2_match_context, FreePcre2> context{pcre2_match_context_create(nullptr)};

  Pcre2Scratch() {
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_set_callout(context.get(), Spend, &budget);
  }
  Pcre2Scratch(const Pcre2Scratch&) = delete;
  Pcre2Scratch& operator=(const Pcre2Scratch&) = delete;

  int Match(const pcre2_code* code, std::string_view subject, size_t begin) {
    budget = {kCostOfMatch + kCostOfByte * (subject.size() - begin), begin};
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), begin, 0,
                       data.get(), context.get());
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
  const uint32_t flags = PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT |
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
  const int result = scratch.Match(program_->pcre2.get(), subject, 0);
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
  const int result = scratch.Match(program_->pcre2.get(), subject, begin);
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
