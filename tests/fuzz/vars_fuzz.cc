// `vars`: any document becomes an expression or a diagnostic, never both, and an expression gives
// one answer about any request. Input: the document (YAML or JSON), an empty line, then a request:
// "METHOD host target", its fields, an empty line, a form body.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/config_tree.h"
#include "gateway/base/text.h"
#include "gateway/http/request_view.h"
#include "gateway/routing/expression.h"
#include "gateway/routing/regex.h"

namespace {

using sluice::Expression;
using sluice::Regex;
using sluice::RequestHead;
using sluice::RequestView;
using sluice::conf::Diagnostics;
using sluice::conf::Node;

constexpr sluice::conf::TreeLimits kLimits{.bytes = 1 << 14, .nodes = 4'000, .depth = 32};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

std::string_view TakeUntil(std::string_view& text, std::string_view mark) {
  const size_t at = std::min(text.find(mark), text.size());
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(std::min(at + mark.size(), text.size()));
  return taken;
}

struct Request {
  explicit Request(std::string_view text) {
    std::string_view line = TakeUntil(text, "\n");
    head.method_text = TakeUntil(line, " ");
    head.method = sluice::FindMethod(head.method_text);
    head.authority = TakeUntil(line, " ");
    head.target = line;
    head.path = TakeUntil(line, "?");
    head.has_query = head.path.size() < head.target.size();
    head.query = line;
    while (!text.empty()) {
      std::string_view field = TakeUntil(text, "\n");
      if (field.empty()) break;
      const std::string_view name = TakeUntil(field, ":");
      head.fields.Add(name, sluice::TrimOws(field));
    }
    view.head = &head;
    view.scheme = "http";
    view.host = head.authority;
    view.path = head.path;
    view.form_body = text;
    view.client_ip = view.peer_ip = sluice::IpAddress::Parse(head.authority)
                                        .value_or(sluice::IpAddress::Parse("127.0.0.1").value());
    view.response_status = 200;
  }

  RequestHead head;
  RequestView view;
};

// Its opposite, one level deeper: "!AND" of the same twice.
Node OppositeOf(const Node& vars) {
  Node opposite;
  opposite.kind = Node::Kind::kList;
  Node word;
  word.kind = Node::Kind::kString;
  word.text = "!AND";
  opposite.items = {std::move(word), vars, vars};
  return opposite;
}

bool Matches(const Expression& expression, const RequestView& request, std::string& failed) {
  const bool matches = expression.Matches(request, &failed);
  Require(matches == expression.Matches(request), "the same with and without a reason");
  Require(matches == failed.empty(), "a reason is given when it does not match, and only then");
  return matches;
}

void CheckOpposite(const Node& vars, bool matches, const std::string& why,
                   const RequestView& request) {
  Diagnostics diagnostics;
  const auto opposite = Expression::Make(OppositeOf(vars), "vars", diagnostics);
  if (opposite == nullptr) {
    // Of what is valid, only the limits can be in the way; without any term there is no opposite.
    const std::string text = diagnostics.ToText();
    Require(vars.items.empty() || text.find("at most") != std::string::npos, "it has an opposite");
    return;
  }
  std::string why_not;
  const bool otherwise = Matches(*opposite, request, why_not);
  Require(!matches || !otherwise, "an expression and its opposite do not both match");
  const bool unknown = why.find("passed its match limit") != std::string::npos;
  Require(matches || otherwise || unknown, "one of both matches, unless nobody knows");
}

void CheckVars(const Node& vars, const Request& request) {
  Diagnostics diagnostics;
  const auto expression = Expression::Make(vars, "vars", diagnostics);
  Require((expression == nullptr) == !diagnostics.empty(), "an expression, or what is wrong");
  if (expression == nullptr) {
    Require(!diagnostics.ToText().empty(), "what is wrong is said");
    return;
  }
  std::string why;
  const bool matches = Matches(*expression, request.view, why);
  CheckOpposite(vars, matches, why, request.view);
  if (expression->needs_body()) return;
  RequestView other = request.view;
  other.form_body = "a=1&b=2";
  Require(expression->Matches(other) == matches, "who needs no body does not look at it");
}

// Each text of the document as a pattern, on the request as a subject.
void CheckPatterns(const Node& node, std::string_view subject, size_t& left) {
  for (const Node& item : node.items) CheckPatterns(item, subject, left);
  if (!node.is_string() || left == 0) return;
  --left;
  for (const auto sensitivity : {Regex::Case::kSensitive, Regex::Case::kInsensitive}) {
    const auto regex = Regex::Make(node.text, sensitivity);
    if (!regex.has_value()) {
      Require(!regex.error().detail.empty(), "what is wrong with a pattern is said");
      continue;
    }
    Require(node.text.size() <= Regex::kMaxPattern, "a pattern is short");
    const Regex::Outcome outcome = regex->Search(subject);
    Regex::Groups groups;
    const size_t begin = 0;
    Require(regex->Find(subject, begin, groups) == outcome, "found as it was searched");
    const char* const first = subject.data();
    const char* const last = first + subject.size();
    for (const std::string_view group : groups) {
      if (group.data() == nullptr) continue;
      Require(outcome == Regex::Outcome::kMatch, "groups are of a match");
      Require(group.data() >= first && group.data() + group.size() <= last, "a group is within");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view document = TakeUntil(rest, "\n\n");
  const Request request(rest);
  Diagnostics diagnostics;
  const Node vars = sluice::conf::ParseYaml(document, 0, diagnostics, kLimits);
  if (!diagnostics.empty()) return 0;
  CheckVars(vars, request);
  size_t patterns = 4;
  CheckPatterns(vars, rest, patterns);
  return 0;
}
