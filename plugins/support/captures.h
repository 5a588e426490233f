// A text with $variables, and with $1 to $9 for the groups of a pattern.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/request_context.h"
#include "gateway/routing/regex.h"

namespace sluice::plugins {

class CaptureTemplate {
 public:
  static Result<CaptureTemplate> Make(std::string_view text);
  // Valid as long as the request.
  std::string_view Expand(RequestContext& request, const Regex::Groups& groups) const;

 private:
  struct Piece {
    TextTemplate text;  // in front of
    size_t group = 0;
  };
  std::vector<Piece> pieces_;
  TextTemplate tail_;
};

}  // namespace sluice::plugins
