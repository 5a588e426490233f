// One comparison of an expression: [variable, operator, value] or [variable, "!", operator, value],
// with the operators and the rules for missing values of lua-resty-expr. Immutable once compiled.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "gateway/base/address.h"
#include "gateway/http/request_view.h"
#include "gateway/http/variables.h"
#include "gateway/routing/regex.h"

namespace sluice {

// kUnknown: a regular expression passed its limit. It must not become true by a negation, so the
// whole expression fails then.
enum class Truth : uint8_t { kFalse, kTrue, kUnknown };

class Comparison {
 public:
  static constexpr size_t kMaxItems = 10'000;  // of a list on the right

  // Empty when `diagnostics` was added to. Precondition: `node` is a list.
  static std::optional<Comparison> Make(const conf::Node& node, const std::string& path,
                                        conf::Diagnostics& diagnostics);

  // `failed`, when given and not true: receives "arg_x == "1": got "2"".
  Truth Test(const RequestView& request, std::string* failed) const;
  bool needs_body() const { return variable_.needs_body(); }

 private:
  enum class Operator : uint8_t {
    kEqual,
    kNotEqual,
    kGreater,
    kGreaterEqual,
    kLess,
    kLessEqual,
    kMatch,
    kMatchNoCase,
    kIn,
    kHas,
    kIpMatch,
  };
  struct Source;

  explicit Comparison(Variable variable) : variable_(std::move(variable)) {}

  static std::optional<Operator> FindOperator(std::string_view name);
  static std::optional<Source> Take(const conf::Node& node, const std::string& path,
                                    conf::Diagnostics& diagnostics);
  bool SetValue(const Source& source, conf::Diagnostics& diagnostics);
  bool SetScalar(const Source& source, conf::Diagnostics& diagnostics);
  bool SetOrder(const Source& source, conf::Diagnostics& diagnostics);
  bool SetRegex(const Source& source, conf::Diagnostics& diagnostics);
  bool SetList(const Source& source, conf::Diagnostics& diagnostics);
  bool SetRanges(const Source& source, conf::Diagnostics& diagnostics);

  Truth Evaluate(std::string_view value) const;
  bool Equals(std::string_view value) const;
  bool Orders(std::string_view value) const;
  bool IsIn(std::string_view value) const;
  bool IsInRanges(std::string_view value) const;

  Variable variable_;
  Operator operator_ = Operator::kEqual;
  bool negated_ = false;
  bool is_null_ = false;            // kEqual, kNotEqual: compared with nothing
  std::optional<double> number_;    // the right side, when it is a number
  std::string text_;                // the right side, when it is text
  std::vector<std::string> texts_;  // kIn, sorted
  std::vector<double> numbers_;     // kIn, sorted
  std::vector<Cidr> ranges_;
  std::optional<Regex> regex_;
  std::string shown_;  // as written, for explain
};

}  // namespace sluice
