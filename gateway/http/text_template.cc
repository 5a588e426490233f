#include "gateway/http/text_template.h"

#include <algorithm>
#include <utility>

#include "gateway/base/text.h"

namespace sluice {
namespace {

bool IsNameChar(char c) {
  return IsDigit(c) || c == '_' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
}

// The name behind a '$' at the front of `text`, and how many bytes both take; empty: none.
std::pair<std::string_view, size_t> FindName(std::string_view text) {
  const bool braced = text.substr(1).starts_with('{');
  const size_t begin = braced ? 2 : 1;
  size_t end = begin;
  while (end < text.size() && IsNameChar(text[end])) ++end;
  const std::string_view name = text.substr(begin, end - begin);
  if (!braced) return {name, end};
  const bool closed = end < text.size() && text[end] == '}';
  return closed ? std::pair(name, end + 1) : std::pair(std::string_view(), size_t{1});
}

// Everything but the unreserved characters of RFC 3986 2.3.
void AppendEscaped(std::string& out, std::string_view value) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : value) {
    if (IsNameChar(c) || c == '-' || c == '.' || c == '~') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
}

}  // namespace

Result<TextTemplate> TextTemplate::Make(std::string_view text) {
  TextTemplate made;
  std::string& literal = made.tail_;
  while (!text.empty()) {
    const size_t plain = std::min(text.find_first_of("$\\"), text.size());
    literal += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    if (text.starts_with("\\$")) {
      literal += '$';
      text.remove_prefix(2);
      continue;
    }
    const auto [name, size] =
        text.front() == '$' ? FindName(text) : std::pair(std::string_view(), size_t{1});
    if (name.empty()) {
      literal += text.front();
      text.remove_prefix(1);
      continue;
    }
    SLUICE_ASSIGN_OR_RETURN(Variable variable, Variable::Make(name));
    made.pieces_.push_back({std::exchange(literal, {}), std::move(variable)});
    text.remove_prefix(size);
  }
  return made;
}

size_t TextTemplate::AppendTo(std::string& out, const RequestView& request,
                              std::string& scratch) const {
  size_t found = 0;
  for (const Piece& piece : pieces_) {
    out += piece.literal;
    const std::string_view value = piece.variable.Value(request, scratch);
    if (value.data() != nullptr) ++found;
    out += value;
  }
  out += tail_;
  return found;
}

void TextTemplate::AppendUriTo(std::string& out, const RequestView& request,
                               std::string& scratch) const {
  for (const Piece& piece : pieces_) {
    out += piece.literal;
    const std::string_view value = piece.variable.Value(request, scratch);
    piece.variable.is_uri_part() ? void(out += value) : AppendEscaped(out, value);
  }
  out += tail_;
}

bool TextTemplate::needs_body() const {
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [](const Piece& piece) { return piece.variable.needs_body(); });
}

}  // namespace sluice
