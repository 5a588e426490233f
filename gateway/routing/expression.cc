#include "gateway/routing/expression.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/base/text.h"
#include "gateway/routing/comparison.h"

namespace sluice {

namespace {

constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxTerms = 1000;

}  // namespace

// A node of the tree: a comparison, or a conjunction or disjunction of terms.
struct Expression::Term {
  bool is_or = false;
  bool negated = false;
  std::optional<Comparison> comparison;
  std::vector<Term> terms;

  Truth Test(const RequestView& request, std::string* failed) const {
    if (comparison) return comparison->Test(request, failed);
    // The value of one member that decides: true for OR, false for AND.
    const Truth deciding = is_or ? Truth::kTrue : Truth::kFalse;
    bool decided = false;
    std::string first;
    for (const Term& term : terms) {
      std::string text;
      const Truth truth = term.Test(request, failed == nullptr ? nullptr : &text);
      if (truth == Truth::kUnknown) {
        if (failed != nullptr) *failed = text.empty() ? first : text;
        return Truth::kUnknown;
      }
      if (first.empty()) first = std::move(text);
      decided = truth == deciding;
      if (decided) break;
    }
    const bool result = (decided == is_or) != negated;
    if (failed != nullptr && !result) *failed = negated ? NegatedText() : first;
    return result ? Truth::kTrue : Truth::kFalse;
  }

  std::string NegatedText() const {
    return is_or ? "!OR: one of its members is true" : "!AND: all of its members are true";
  }

  bool NeedsBody() const {
    return (comparison && comparison->needs_body()) ||
           std::any_of(terms.begin(), terms.end(), [](const Term& t) { return t.NeedsBody(); });
  }

  struct Compiler;
};

struct Expression::Term::Compiler {
  conf::Diagnostics& diagnostics;
  size_t terms_left = kMaxTerms;

  // AND, OR, !AND, !OR in any case; false when `word` is none of them.
  static bool SetLogic(std::string_view word, Term& term) {
    const std::string lower = ToLower(word);
    std::string_view name = lower;
    const bool negated = !name.empty() && name.front() == '!';
    if (negated) name.remove_prefix(1);
    if (name != "and" && name != "or") return false;
    term.negated = negated;
    term.is_or = name == "or";
    return true;
  }

  bool AddAll(const conf::Node& list, size_t first, const std::string& path, size_t depth,
              Term& term) {
    bool all = true;
    for (size_t i = first; i < list.items.size() && terms_left > 0; ++i) {
      auto member = Compile(list.items[i], path + "[" + std::to_string(i) + "]", depth + 1);
      if (member) term.terms.push_back(std::move(*member));
      all = all && member.has_value();
    }
    return all;
  }

  std::optional<Term> Compile(const conf::Node& node, const std::string& path, size_t depth) {
    const auto refuse = [&](std::string message, std::string hint = {}) {
      diagnostics.Add(node.position, path, std::move(message), std::move(hint));
      return std::nullopt;
    };
    if (!node.is_list() || node.items.empty()) {
      return refuse("expected [variable, operator, value] or [\"OR\", …], got " +
                    std::string(node.is_list() ? "an empty list" : conf::KindName(node.kind)));
    }
    if (depth > kMaxDepth) {
      return refuse("expected at most " + std::to_string(kMaxDepth) + " levels of nesting");
    }
    if (--terms_left == 0) {
      return refuse("expected at most " + std::to_string(kMaxTerms) + " terms");
    }
    Term term;
    const conf::Node& head = node.items.front();
    if (head.is_list()) {
      if (!AddAll(node, 0, path, depth, term)) return std::nullopt;
      return term;
    }
    if (head.is_string() && SetLogic(head.text, term)) {
      if (node.items.size() < 3) {
        return refuse("expected at least two members after \"" + head.text + "\", got " +
                      std::to_string(node.items.size() - 1));
      }
      if (!AddAll(node, 1, path, depth, term)) return std::nullopt;
      return term;
    }
    term.comparison = Comparison::Make(node, path, diagnostics);
    if (!term.comparison) return std::nullopt;
    return term;
  }
};

Expression::Expression() = default;
Expression::~Expression() = default;

std::unique_ptr<const Expression> Expression::Make(const conf::Node& vars, const std::string& path,
                                                   conf::Diagnostics& diagnostics) {
  if (!vars.is_list()) {
    diagnostics.Add(vars.position, path,
                    "expected a list of comparisons, got " + std::string(conf::KindName(vars.kind)),
                    "as in [[\"arg_version\", \"==\", \"2\"]]");
    return nullptr;
  }
  auto expression = std::unique_ptr<Expression>(new Expression());
  expression->root_ = std::make_unique<Term>();
  if (vars.items.empty()) return expression;  // no condition

  Term::Compiler compiler{diagnostics};
  const conf::Node& head = vars.items.front();
  Term logic;
  if (head.is_string() && !Term::Compiler::SetLogic(head.text, logic)) {
    diagnostics.Add(vars.position, path,
                    "expected a list of comparisons, got one comparison without its own brackets",
                    "write [" + conf::ToJson(vars) + "]");
    return nullptr;
  }
  auto root = compiler.Compile(vars, path, 1);
  if (!root) return nullptr;
  *expression->root_ = std::move(*root);
  return expression;
}

bool Expression::Matches(const RequestView& request, std::string* failed) const {
  return root_->Test(request, failed) == Truth::kTrue;
}

bool Expression::needs_body() const { return root_->NeedsBody(); }

}  // namespace sluice
