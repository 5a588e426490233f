#include "plugins/support/captures.h"

#include "gateway/base/text.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {
namespace {

// Where "$1" or "${1}" begins, and its size; npos: nowhere.
std::pair<size_t, size_t> FindGroup(std::string_view text) {
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
    if (at > 0 && text[at - 1] == '\\') continue;
    const std::string_view rest = text.substr(at + 1);
    if (!rest.empty() && IsDigit(rest[0])) return {at, 2};
    if (rest.size() > 2 && rest[0] == '{' && IsDigit(rest[1]) && rest[2] == '}') return {at, 4};
  }
  return {std::string_view::npos, 0};
}

}  // namespace

Result<CaptureTemplate> CaptureTemplate::Make(std::string_view text) {
  CaptureTemplate made;
  while (true) {
    const auto [at, size] = FindGroup(text);
    SLUICE_ASSIGN_OR_RETURN(TextTemplate piece, MakeTemplate(text.substr(0, at)));
    if (at == std::string_view::npos) {
      made.tail_ = std::move(piece);
      return made;
    }
    const char digit = text[at + (size == 2 ? 1 : 2)];
    made.pieces_.push_back({std::move(piece), static_cast<size_t>(digit - '0')});
    text.remove_prefix(at + size);
  }
}

std::string_view CaptureTemplate::Expand(RequestContext& request,
                                         const Regex::Groups& groups) const {
  if (pieces_.empty()) return request.Expand(tail_);
  std::string text;
  for (const Piece& piece : pieces_) {
    text += request.Expand(piece.text);
    text += groups[piece.group];
  }
  text += request.Expand(tail_);
  return request.arena().Copy(text);
}

}  // namespace sluice::plugins
