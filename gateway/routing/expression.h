// `vars`: boolean expressions over request variables in the form of lua-resty-expr, compiled at
// load: [["arg_x","==","1"],["http_y","~~","^a"]], with "!" negation and nested AND, OR, !AND, !OR.
#pragma once

#include <memory>
#include <string>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "gateway/http/request_view.h"

namespace sluice {

class Expression {
 public:
  // Null when `diagnostics` was added to; `path` names the node in messages ("routes[0].vars").
  static std::unique_ptr<const Expression> Make(const conf::Node& vars, const std::string& path,
                                                conf::Diagnostics& diagnostics);
  ~Expression();
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  // `failed`, when given, receives the text of the first comparison that was false.
  bool Matches(const RequestView& request, std::string* failed = nullptr) const;
  bool needs_body() const;

 private:
  struct Term;
  Expression();
  std::unique_ptr<Term> root_;
};

}  // namespace sluice
