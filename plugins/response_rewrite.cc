#include "plugins/response_rewrite.h"

#include <algorithm>

#include "gateway/base/base64.h"
#include "gateway/base/log.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/changed_body.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ResponseRewrite);

namespace {

constexpr uint64_t kLargestBody = 1024 * 1024 * 1024;
constexpr conf::Text kBodyText{.min = 0, .max = 8 * 1024 * 1024, .lines = true};

const conf::Fields<ResponseRewrite::Filter>& FilterFields() {
  using T = ResponseRewrite::Filter;
  static const conf::Fields<T> kFields = {
      conf::Required(conf::Declare("regex", &T::regex, conf::Text{1, Regex::kMaxPattern},
                                   "What is searched in the body.")),
      conf::Required(conf::Declare("replace", &T::replace,
                                   conf::Text{.min = 0, .max = 64 * 1024, .lines = true},
                                   "What takes its place; $0 to $9 are the groups.")),
      conf::Declare("scope", &T::global, conf::Choice<bool>{{{"once", false}, {"global", true}}},
                    "The first match, or all."),
      conf::Declare("options", &T::options, conf::Text{0, 16},
                    "Letters: i (any case), s, m, x; j and o change nothing."),
  };
  return kFields;
}

}  // namespace

const conf::Fields<ResponseRewrite::Config>& ResponseRewrite::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("status_code", &T::status_code, conf::Integer<int>{200, 598}, "New status."),
      conf::Declare("body", &T::body, kBodyText, "New body. Not together with `filters`."),
      conf::Declare("body_base64", &T::body_base64, conf::Boolean{}, "`body` is in base64."),
      conf::Declare("headers", &T::headers, HeaderChangesField{.lines = true},
                    "Changes of the response's fields, in the order add, set, remove. Values may "
                    "have $variables."),
      conf::Declare("filters", &T::filters,
                    conf::ListOf<conf::Record<Filter>>{{FilterFields()}, 1, false, 100},
                    "Replacements in the body, one after the other."),
      conf::Declare("max_resp_body_size", &T::max_resp_body_size,
                    conf::Integer<uint64_t>{1, kLargestBody},
                    "Bytes of a body that `filters` search; a larger one is sent as it is."),
      conf::Declare("vars", &T::vars, conf::AnyValue{},
                    "Expression over request and `status`; responses that do not match are left "
                    "as they are."),
  };
  return kFields;
}

std::optional<ResponseRewrite::Rule> ResponseRewrite::Compile(const Filter& filter,
                                                              const conf::Place& place) {
  std::string flags;
  bool any_case = false;
  for (const char option : filter.options) {
    if (option == 'i') any_case = true;
    if (option == 's' || option == 'm' || option == 'x') flags += option;
    if (std::string_view("ijosmx").find(option) == std::string_view::npos) {
      place.Fail("filters: expected options of the letters i, s, m, x, j and o, got \"" +
                 filter.options + "\"");
      return std::nullopt;
    }
  }
  const std::string pattern = flags.empty() ? filter.regex : "(?" + flags + ")" + filter.regex;
  auto regex = Regex::Make(pattern, any_case ? Regex::Case::kInsensitive : Regex::Case::kSensitive);
  auto replacement = Substitution::Make(filter.replace);
  if (!regex.has_value()) place.Fail("filters: " + regex.error().detail);
  if (!replacement.has_value()) place.Fail("filters: " + replacement.error().detail);
  if (!regex.has_value() || !replacement.has_value()) return std::nullopt;
  return Rule{*std::move(regex), *std::move(replacement), filter.global};
}

std::unique_ptr<const Plugin> ResponseRewrite::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<ResponseRewrite>();
  if (config.body && !config.filters.empty()) {
    build.place.Fail("expected \"body\" or \"filters\", got both");
  }
  if (config.body_base64) {
    std::string text = config.body.value_or("");
    text.append((4 - text.size() % 4) % 4, '=');  // padding may be left out, as in APISIX
    config.body = DecodeBase64(text, Base64::kStandard);
    if (!config.body || config.body->empty()) {
      build.place.Fail("expected \"body\" in base64, as \"body_base64\" says");
    }
  }
  if (config.vars != nullptr) {
    plugin->vars_ = CompileExpression(*config.vars, build.place, "vars");
  }
  for (const Filter& filter : config.filters) {
    if (auto rule = Compile(filter, build.place)) plugin->rules_.push_back(*std::move(rule));
  }
  plugin->status_ = config.status_code;
  plugin->body_ = std::move(config.body);
  if (config.headers) plugin->headers_ = *std::move(config.headers);
  plugin->max_body_ = config.max_resp_body_size;
  return plugin;
}

Verdict ResponseRewrite::OnHeaderFilter(RequestContext& request, ResponseContext& response) const {
  if (vars_ != nullptr && !vars_->Matches(request.view())) return Verdict::kContinue;
  if (status_) response.SetStatus(*status_);
  if (body_) {
    response.RemoveHeader("Content-Encoding");
    RemoveContentFields(response);
    response.ChangeBody(body_->size());
  } else if (!rules_.empty() && IsPlainBody(response)) {
    RemoveContentFields(response);
    response.ChangeBody();
  }
  Apply(headers_, request, Regex::Groups{}, response);
  return Verdict::kContinue;
}

void ResponseRewrite::OnBodyFilter(RequestContext& request, BodyPiece& piece) const {
  auto& collected = request.State<Collected>();
  if (body_) {
    std::exchange(collected.sent, true) ? piece.Clear() : piece.Set(*body_);
    return;
  }
  if (collected.too_large) return;
  collected.body += piece.bytes();
  if (collected.body.size() > max_body_) {
    collected.too_large = true;
    return piece.Set(std::exchange(collected.body, {}));
  }
  if (!piece.is_last()) return piece.Clear();
  std::string body = std::move(collected.body);
  for (const Rule& rule : rules_) {
    std::string next;
    if (!Replace(rule.pattern, rule.replacement, body, {.all = rule.all, .limit = max_body_},
                 next)) {
      Log(LogLevel::kWarn,
          "response-rewrite: a replacement took or became too long, the body stays as it is",
          {{"route", request.route_id()}});
      continue;
    }
    body = std::move(next);
  }
  piece.Set(std::move(body));
}

}  // namespace sluice::plugins
