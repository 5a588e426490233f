#include "plugins/proxy_rewrite.h"

#include <algorithm>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ProxyRewrite);

namespace {

bool IsPath(std::string_view text) { return text.starts_with('/'); }

// A name or an address, perhaps with a port; no more, as it is written into Host.
bool IsHost(std::string_view text) {
  const size_t colon = std::min(text.rfind(':'), text.size());
  const std::string_view port = text.substr(std::min(colon + 1, text.size()));
  const bool digits = colon == text.size() || (!port.empty() && port.size() <= 5 &&
                                               ParseDecimal(port).value_or(65536) < 65536);
  const std::string_view name = text.substr(0, colon);
  return digits && !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
           return IsDigit(c) || c == '-' || c == '.' ||
                  (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
         });
}

conf::Choice<std::string> Methods() {
  conf::Choice<std::string> choice;
  for (const std::string_view name : {"GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY",
                                      "MOVE", "OPTIONS", "PROPFIND", "LOCK", "UNLOCK", "PATCH"}) {
    choice.values.emplace_back(name, name);
  }
  choice.not_built = {"TRACE"};
  return choice;
}

}  // namespace

const conf::Fields<ProxyRewrite::Config>& ProxyRewrite::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("uri", &T::uri,
                    conf::TextLike{"a path that begins with /", IsPath, "^/.*", {1, 4096}},
                    "New path, perhaps with a query; may have $variables. The client's query is "
                    "appended."),
      conf::Declare("regex_uri", &T::regex_uri, conf::ListOf<conf::Text>{{}, 2, false, 100},
                    "Pairs of a regular expression and what takes its place in the path ($1 …); "
                    "the first that matches applies. Not together with `uri`, which goes first."),
      conf::Declare("method", &T::method, Methods(), "New method."),
      conf::Declare(
          "host", &T::host,
          conf::TextLike{
              "a host, perhaps with a port", IsHost, "^[0-9a-zA-Z-.]+(:\\d{1,5})?$", {1, 260}},
          "New Host, where the upstream's `pass_host` is `pass`."),
      conf::Declare("headers", &T::headers, HeaderChangesField{},
                    "Changes of the request's fields, in the order add, set, remove. Values may "
                    "have $variables and the groups of `regex_uri` ($1 …)."),
      conf::NotBuilt<T>("use_real_request_uri_unsafe"),
  };
  return kFields;
}

std::unique_ptr<const Plugin> ProxyRewrite::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<ProxyRewrite>();
  if (build.place.node.entries.empty()) {
    build.place.Fail("expected at least one field");
    return nullptr;
  }
  if (config.uri) plugin->uri_ = CompileTemplate(*config.uri, build.place, "uri");
  if (config.regex_uri.size() % 2 != 0) {
    build.place.Fail("expected pairs of pattern and replacement in \"regex_uri\", got " +
                     std::to_string(config.regex_uri.size()) + " items");
    return nullptr;
  }
  for (size_t i = 0; i < config.regex_uri.size(); i += 2) {
    auto pattern = Regex::Make(config.regex_uri[i], Regex::Case::kSensitive);
    auto replacement = Substitution::Make(config.regex_uri[i + 1]);
    if (!pattern.has_value()) build.place.Fail("regex_uri: " + pattern.error().detail);
    if (!replacement.has_value()) build.place.Fail("regex_uri: " + replacement.error().detail);
    if (!pattern.has_value() || !replacement.has_value()) continue;
    plugin->uri_rules_.push_back({*std::move(pattern), *std::move(replacement)});
  }
  plugin->method_ = std::move(config.method).value_or("");
  plugin->host_ = std::move(config.host).value_or("");
  if (config.headers) plugin->headers_ = *std::move(config.headers);
  return plugin;
}

Status ProxyRewrite::RewriteUri(RequestContext& request, Regex::Groups& groups) const {
  std::string target;
  if (uri_) {
    target = request.ExpandUri(*uri_);
  } else {
    const std::string_view path = request.view().path;
    auto outcome = Regex::Outcome::kNoMatch;
    const auto rule = std::find_if(uri_rules_.begin(), uri_rules_.end(), [&](const UriRule& each) {
      outcome = each.pattern.Find(path, 0, groups);
      return outcome != Regex::Outcome::kNoMatch;
    });
    if (rule == uri_rules_.end()) return {};
    // A path that is hard to match must not get past the rule.
    if (outcome == Regex::Outcome::kLimit ||
        !Replace(rule->pattern, rule->replacement, path, {}, target)) {
      return GatewayError(ErrorCode::kPluginFailed, "regex_uri took or became too long");
    }
  }
  // As it is now: an authentication plugin may have taken a credential out.
  const std::string_view before = request.upstream_uri();
  if (const size_t mark = before.find('?'); mark != std::string_view::npos) {
    target += target.find('?') == std::string::npos ? '?' : '&';
    target += before.substr(mark + 1);
  }
  return request.SetUpstreamUri(target);
}

Verdict ProxyRewrite::OnRewrite(RequestContext& request) const {
  Regex::Groups groups{};
  if (const Status status = RewriteUri(request, groups); !status.has_value()) {
    if (status.error().code == ErrorCode::kPluginFailed) return request.Fail(status.error().detail);
    Log(LogLevel::kInfo, "proxy-rewrite makes a path that is refused",
        {{"route", request.route_id()}, {"detail", status.error().detail}});
    return request.Reply(400);
  }
  if (!method_.empty()) request.SetUpstreamMethod(method_);
  if (!host_.empty()) request.SetUpstreamHost(host_);
  Apply(headers_, request, groups, request);
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
