// A text with $variables, compiled once: "for $remote_addr by ${http_user_agent}". A '$' that no
// name follows stands for itself, and so does "\$". Immutable.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/http/request_view.h"
#include "gateway/http/variables.h"

namespace sluice {

class TextTemplate {
 public:
  TextTemplate() = default;  // empty
  // An error for a variable that does not exist.
  static Result<TextTemplate> Make(std::string_view text);

  // Appends the text; a variable that the request does not have is empty. Returns how many it has.
  size_t AppendTo(std::string& out, const RequestView& request, std::string& scratch) const;

  // The same for a URI: what a request could put in as a separator is escaped.
  void AppendUriTo(std::string& out, const RequestView& request, std::string& scratch) const;

  bool is_constant() const { return pieces_.empty(); }
  const std::string& text() const { return tail_; }  // of a constant one
  // Null: it is made of more or of less than one variable.
  const Variable* only_variable() const {
    const bool one = pieces_.size() == 1 && pieces_[0].literal.empty() && tail_.empty();
    return one ? &pieces_[0].variable : nullptr;
  }
  bool needs_body() const;

 private:
  struct Piece {
    std::string literal;  // in front of
    Variable variable;
  };
  std::vector<Piece> pieces_;
  std::string tail_;
};

}  // namespace sluice
