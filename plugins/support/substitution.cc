#include "plugins/support/substitution.h"

#include <algorithm>
#include <utility>

#include "gateway/base/text.h"

namespace sluice::plugins {

Result<Substitution> Substitution::Make(std::string_view text) {
  Substitution made;
  std::string& literal = made.tail_;
  while (!text.empty()) {
    const size_t plain = std::min(text.find('$'), text.size());
    literal += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    if (text.starts_with("$$")) {
      literal += '$';
      text.remove_prefix(2);
      continue;
    }
    const bool braced = text.substr(1).starts_with('{');
    const size_t digit = braced ? 2 : 1;
    const bool is_group = digit < text.size() && IsDigit(text[digit]) &&
                          (!braced || text.substr(digit + 1).starts_with('}'));
    if (!is_group) {
      return GatewayError(ErrorCode::kInvalidConfig,
                          "expected $0 to $9, ${1} or $$ after a \"$\", got \"" +
                              std::string(text.substr(0, 8)) + "\"");
    }
    made.pieces_.push_back({std::exchange(literal, {}), static_cast<size_t>(text[digit] - '0')});
    text.remove_prefix(digit + (braced ? 2 : 1));
  }
  return made;
}

void Substitution::AppendTo(std::string& out, const Regex::Groups& groups) const {
  for (const Piece& piece : pieces_) {
    out += piece.literal;
    out += groups[piece.group];
  }
  out += tail_;
}

bool Replace(const Regex& regex, const Substitution& replacement, std::string_view subject,
             const Replacing& how, std::string& out) {
  const size_t before = out.size();
  size_t begin = 0;
  while (begin <= subject.size()) {
    Regex::Groups groups;
    const Regex::Outcome outcome = regex.Find(subject, begin, groups);
    if (outcome == Regex::Outcome::kLimit || out.size() - before > how.limit) {
      out.resize(before);
      return false;
    }
    if (outcome == Regex::Outcome::kNoMatch) break;
    const auto at = static_cast<size_t>(groups[0].data() - subject.data());
    out += subject.substr(begin, at - begin);
    replacement.AppendTo(out, groups);
    begin = at + groups[0].size();
    if (groups[0].empty() && begin < subject.size()) out += subject[begin];
    if (groups[0].empty()) ++begin;  // not the same empty match again
    if (!how.all) break;
  }
  if (begin < subject.size()) out += subject.substr(begin);
  if (out.size() - before <= how.limit) return true;
  out.resize(before);
  return false;
}

}  // namespace sluice::plugins
