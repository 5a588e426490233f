#include "gateway/routing/hash_key.h"

#include <algorithm>
#include <utility>

#include "gateway/base/text.h"

namespace sluice {
namespace {

using Source = conf::HashKeyConfig::Source;

bool IsNameChar(char c) {
  return IsDigit(c) || c == '-' || c == '_' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
}

Error KeyError(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

Result<Variable> MakeVariable(std::string_view name) {
  SLUICE_ASSIGN_OR_RETURN(Variable variable, Variable::Make(name));
  if (variable.needs_body()) {
    return KeyError("\"" + std::string(name) +
                    "\" cannot choose a node: bodies are not read first");
  }
  return variable;
}

}  // namespace

Result<HashKey> HashKey::Make(const conf::HashKeyConfig& config) {
  HashKey key;
  if (config.source == Source::kCombination) {
    SLUICE_ASSIGN_OR_RETURN(key.pieces_, Compile(config.key));
    return key;
  }
  std::string name = config.key;
  if (config.source != Source::kVariable) {
    if (!std::all_of(name.begin(), name.end(), IsNameChar)) {
      return KeyError("expected a name of letters, digits, '-' and '_', got \"" + name + "\"");
    }
    name.insert(0, config.source == Source::kHeader ? "http_" : "cookie_");
  }
  Piece& piece = key.pieces_.emplace_back();
  SLUICE_ASSIGN_OR_RETURN(piece.variable, MakeVariable(name));
  return key;
}

Result<std::vector<HashKey::Piece>> HashKey::Compile(std::string_view text) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<TemplatePart> parts, SplitTemplate(text));
  std::vector<Piece> pieces;
  for (const TemplatePart& part : parts) {
    Piece& piece = pieces.emplace_back();
    piece.literal = part.literal;
    if (part.variable.empty()) break;
    SLUICE_ASSIGN_OR_RETURN(piece.variable, MakeVariable(part.variable));
  }
  if (pieces.empty() || !pieces.front().variable) {
    return KeyError("expected $variables, such as $remote_addr$uri, got \"" + std::string(text) +
                    "\"");
  }
  return pieces;
}

std::string_view HashKey::Of(const RequestView& request, std::string& scratch) const {
  if (pieces_.size() == 1 && pieces_[0].literal.empty()) {
    return pieces_[0].variable->Value(request, scratch);
  }
  std::string computed;
  bool found = false;
  scratch.clear();
  for (const Piece& piece : pieces_) {
    scratch += piece.literal;
    if (!piece.variable) continue;
    const std::string_view value = piece.variable->Value(request, computed);
    found = found || !value.empty();
    scratch += value;
  }
  return found ? std::string_view(scratch) : std::string_view();
}

}  // namespace sluice
