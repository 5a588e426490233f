#include "plugins/proxy_mirror.h"

#include <algorithm>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/headers.h"
#include "gateway/plugin/registration.h"
#include "gateway/plugin/sub_request.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ProxyMirror);

namespace {

constexpr Duration kLongestCopy = seconds(60);

bool IsServiceHost(std::string_view text) {
  const auto url = ServiceUrl::Make(text);
  return url.has_value() && url->target == "/" && !text.ends_with('/');
}

// Where a request came from: a client's word about that is not passed on.
bool IsForwarding(HeaderId id) {
  switch (id) {
    case HeaderId::kForwarded:
    case HeaderId::kXForwardedFor:
    case HeaderId::kXForwardedHost:
    case HeaderId::kXForwardedPort:
    case HeaderId::kXForwardedProto:
    case HeaderId::kXRealIp:
      return true;
    default:
      return false;
  }
}

// The rest of these is left out by who sends the copy.
bool IsNamedByConnection(const HeaderList& fields, const HeaderField& field) {
  return field.id == HeaderId::kOther && !field.by_plugin && fields.Has(HeaderId::kConnection) &&
         std::any_of(fields.begin(), fields.end(), [&field](const HeaderField& each) {
           return each.id == HeaderId::kConnection && ListContains(each.value, field.name);
         });
}

bool IsPath(std::string_view text) {
  return text.starts_with('/') && text.size() > 1 && text.find_first_of("?&# ") == text.npos;
}

}  // namespace

const conf::Fields<ProxyMirror::Config>& ProxyMirror::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(
          conf::Declare("host", &T::host,
                        conf::TextLike{"http://host:port or https://host:port, without a path",
                                       IsServiceHost, "^https?://[^/]+$"},
                        "The service.")),
      conf::Declare(
          "path", &T::path,
          conf::TextLike{"a path that begins with / and has no query", IsPath, "^/[^?&]+$"},
          "The path of copies; without one that of the request."),
      conf::Declare(
          "path_concat_mode", &T::path_concat_mode,
          conf::Choice<Concat>{{{"replace", Concat::kReplace}, {"prefix", Concat::kPrefix}}},
          "`path` takes the place of the request's, or stands in front of it."),
      conf::Declare("sample_ratio", &T::sample_ratio, conf::Number{0.00001, 1},
                    "The share of requests that is copied."),
  };
  return kFields;
}

void ProxyMirror::FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink) {
  AddServiceUpstream<ProxyMirror>(plugin, sink, "host",
                                  [](const Config&, conf::UpstreamConfig&) {});
}

std::unique_ptr<const Plugin> ProxyMirror::Make(Config config, const PluginBuild& build) {
  auto url = ServiceUrl::Make(config.host);
  if (!url.has_value()) return nullptr;  // was said when the field was read
  const int32_t upstream = build.UpstreamAt(*build.place.node.Find("host"));
  return std::make_unique<ProxyMirror>(std::move(config), *std::move(url), upstream);
}

std::string ProxyMirror::Target(RequestContext& request) const {
  std::string target(request.upstream_uri());
  if (config_.path.empty()) return target;
  if (config_.path_concat_mode == Concat::kPrefix) return config_.path + target;
  const size_t query = target.find('?');
  return query == std::string::npos ? config_.path : config_.path + target.substr(query);
}

Verdict ProxyMirror::OnAccess(RequestContext& request) const {
  constexpr uint64_t kMillion = 1'000'000;
  const auto share = static_cast<uint64_t>(config_.sample_ratio * kMillion);
  if (share < kMillion && request.services().Random() % kMillion >= share) {
    return Verdict::kContinue;
  }
  const RequestHead& head = request.head();
  const bool is_whole = !head.body.has_body() || !request.body().empty();
  if (!is_whole || head.websocket || *under_way_ >= kMostUnderWay) return Verdict::kContinue;
  SubRequest copy;
  copy.upstream = upstream_;
  copy.method = head.method_text;
  copy.target = Target(request);
  copy.host = url_.authority;
  copy.limit = kLongestCopy;
  copy.detached = true;
  copy.body = request.body();
  for (const HeaderField& field : head.fields) {
    if (IsForwarding(field.id) || IsNamedByConnection(head.fields, field)) continue;
    copy.fields.emplace_back(field.name, field.value);
  }
  copy.fields.emplace_back("X-Forwarded-For", request.view().client_text);
  ++*under_way_;
  request.sender()->Send(std::move(copy), [count = under_way_](const auto&) { --*count; });
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
