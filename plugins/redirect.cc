#include "plugins/redirect.h"

#include <algorithm>

#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/alternatives.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(Redirect);

namespace {

// Escapes what may not stand in a path (RFC 3986 3.3), and leaves escapes that are there.
std::string EncodePath(std::string_view path) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kAllowed = "-._~!$&'()*+,;=:@/";
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    const bool is_escape =
        c == '%' && i + 2 < path.size() && HexValue(path[i + 1]) >= 0 && HexValue(path[i + 2]) >= 0;
    if (is_escape || IsDigit(c) || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z') ||
        kAllowed.find(c) != std::string_view::npos) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

// What the client used: a proxy that is trusted knows better than we.
std::string_view SchemeOf(RequestContext& request) {
  const RequestView& view = request.view();
  const std::string_view said = view.head->fields.Value(HeaderId::kXForwardedProto);
  if (!view.peer_is_trusted || said.empty()) return view.scheme;
  return TrimOws(said.substr(0, said.find(',')));
}

}  // namespace

const conf::Fields<Redirect::Config>& Redirect::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Declare("http_to_https", &T::http_to_https, conf::Boolean{},
                    "Requests without TLS are sent to the same URI with it: 301 for GET and HEAD, "
                    "308 for others. Not together with `append_query_string`."),
      conf::Declare("uri", &T::uri, conf::Text{2, 4096},
                    "Where to; may have $variables, whose values are escaped unless they are "
                    "pieces of a URI ($uri, $request_uri, $args, $host)."),
      conf::Declare("regex_uri", &T::regex_uri, conf::ListOf<conf::Text>{{}, 2, false, 2},
                    "A regular expression and what takes its place in the path ($1 …). A path "
                    "that does not match goes on to the upstream."),
      conf::Declare("ret_code", &T::ret_code, conf::Integer<int>{200, 599},
                    "Status, but with `http_to_https`."),
      conf::Declare("encode_uri", &T::encode_uri, conf::Boolean{},
                    "Escapes in the new path what may not stand there."),
      conf::Declare("append_query_string", &T::append_query_string, conf::Boolean{},
                    "The client's query is appended."),
  };
  return kFields;
}

const conf::Fields<Redirect::Metadata>& Redirect::MetadataFields() {
  using T = Metadata;
  static const conf::Fields<T> kFields = {
      conf::Declare("https_port", &T::https_port, conf::Integer<int>{1, 65535},
                    "Where `http_to_https` leads."),
  };
  return kFields;
}

std::unique_ptr<const Plugin> Redirect::Make(Config config, const PluginBuild& build) {
  if (!HasExactlyOne(build.place, {"uri", "regex_uri", "http_to_https"})) return nullptr;
  if (config.http_to_https && config.append_query_string) {
    build.place.Fail("only one of `http_to_https` and `append_query_string` can be configured");
    return nullptr;
  }
  auto plugin = std::make_unique<Redirect>();
  if (config.uri) plugin->uri_ = CompileTemplate(*config.uri, build.place, "uri");
  if (!config.regex_uri.empty() && !plugin->CompileRule(config.regex_uri, build.place)) {
    return nullptr;
  }
  const int port = ReadMetadata<Redirect>(build).https_port;
  if (port != 443) plugin->https_port_ = ":" + std::to_string(port);
  if (config.uri) plugin->names_host_ = config.uri->starts_with("//");
  if (plugin->rule_) plugin->names_host_ = config.regex_uri[1].starts_with("//");
  plugin->to_https_ = config.http_to_https;
  plugin->status_ = config.ret_code;
  plugin->encodes_ = config.encode_uri;
  plugin->appends_query_ = config.append_query_string;
  return plugin;
}

bool Redirect::CompileRule(const std::vector<std::string>& pair, const conf::Place& place) {
  auto pattern = Regex::Make(pair[0], Regex::Case::kSensitive);
  auto replacement = Substitution::Make(pair[1]);
  if (!pattern.has_value()) place.Fail("regex_uri: " + pattern.error().detail);
  if (!replacement.has_value()) place.Fail("regex_uri: " + replacement.error().detail);
  if (!pattern.has_value() || !replacement.has_value()) return false;
  rule_.emplace(Rule{*std::move(pattern), *std::move(replacement)});
  return true;
}

Verdict Redirect::ToHttps(RequestContext& request) const {
  static const Variable kRequestUri = *Variable::Make("request_uri");
  const RequestView& view = request.view();
  if (view.host.empty()) return request.Reply(400);  // HTTP/1.0 without Host: to nowhere
  std::string uri = "https://";
  uri.append(view.host).append(https_port_).append(request.Value(kRequestUri));
  request.SetResponseHeader("Location", uri);
  const bool keeps_method = view.method() == Method::kGet || view.method() == Method::kHead;
  return request.Reply(keeps_method ? 301 : 308);
}

Verdict Redirect::To(std::string uri, RequestContext& request) const {
  // A path of the client's ("//evil.test/") must not become a host.
  const size_t slashes = std::min(uri.find_first_not_of('/'), uri.size());
  if (!names_host_ && slashes > 1) uri.erase(0, slashes - 1);
  const size_t mark = std::min(uri.find('?'), uri.size());
  const bool has_query = mark < uri.size();
  if (encodes_) uri = EncodePath(uri.substr(0, mark)) + uri.substr(mark);
  if (appends_query_ && !request.view().query().empty()) {
    uri.append(has_query ? "&" : "?").append(request.view().query());
  }
  request.SetResponseHeader("Location", uri);
  return request.Reply(status_);
}

Verdict Redirect::OnRewrite(RequestContext& request) const {
  if (to_https_ && EqualsIgnoreCase(SchemeOf(request), "http")) return ToHttps(request);
  if (uri_) return To(std::string(request.ExpandUri(*uri_)), request);
  if (!rule_) return Verdict::kContinue;
  const std::string_view path = request.view().path;
  switch (rule_->pattern.Search(path)) {
    case Regex::Outcome::kNoMatch:
      return Verdict::kContinue;
    case Regex::Outcome::kLimit:
      return request.Fail("regex_uri took too long");
    case Regex::Outcome::kMatch:
      break;
  }
  std::string uri;
  if (!Replace(rule_->pattern, rule_->replacement, path, {}, uri)) {
    return request.Fail("regex_uri took or became too long");
  }
  return To(std::move(uri), request);
}

}  // namespace sluice::plugins
