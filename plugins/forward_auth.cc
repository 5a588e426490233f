#include "plugins/forward_auth.h"

#include <algorithm>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/plugin/registration.h"
#include "plugins/support/header_fields.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {

SLUICE_PLUGIN(ForwardAuth);

namespace {

using conf::Declare;

constexpr size_t kMostHeaders = 100;
constexpr size_t kMostAnswer = 1024 * 1024;
// Of the body's form, which the service needs when it gets the body.
constexpr std::string_view kBodyFields[] = {"Content-Type", "Content-Encoding"};

// As it is matched and forwarded: "/public/../admin" must not look like something public here, nor
// "http://host/admin" like another path.
std::string UriOf(const RequestView& view) {
  std::string uri(view.path);
  if (view.head->has_query) uri.append("?").append(view.head->query);
  return uri;
}

// Sets or adds all fields of that name in `from` by the two functions; false: there is none.
template <typename Set, typename Add>
bool CopyAll(const HeaderList& from, std::string_view name, Set set, Add add) {
  bool any = false;
  for (const HeaderField& field : from) {
    if (!EqualsIgnoreCase(field.name, name)) continue;
    std::exchange(any, true) ? add(field.value) : set(field.value);
  }
  return any;
}

// What the client says itself of what the upstream is to hear, also with '_', which many upstreams
// do not tell from '-'.
void RemoveLookAlikes(RequestContext& request, std::string_view name) {
  std::vector<std::string_view> names;
  for (const HeaderField& field : request.head().fields) {
    if (LooksLike(field.name, name)) names.push_back(field.name);
  }
  for (const std::string_view each : names) request.RemoveHeader(each);
}

conf::ListOf<conf::TextLike> FieldNames() { return {FieldName(), 0, true, kMostHeaders}; }

}  // namespace

const conf::Fields<ForwardAuth::Config>& ForwardAuth::Fields() {
  using T = Config;
  static const conf::Fields<T> kFields = {
      conf::Required(Declare("uri", &T::uri, ServiceUrlText(), "The service.")),
      Declare("request_method", &T::request_method,
              conf::Choice<Ask>{{{"GET", Ask::kGet}, {"POST", Ask::kPost}}},
              "How it is asked; with POST it gets the request's body."),
      Declare("request_headers", &T::request_headers, FieldNames(),
              "Fields of the request that the service gets."),
      Declare("upstream_headers", &T::upstream_headers, FieldNames(),
              "Fields of its answer that the upstream gets, in place of the client's."),
      Declare("client_headers", &T::client_headers, FieldNames(),
              "Fields of its answer that the client gets when it refuses."),
      Declare("extra_headers", &T::extra_headers, HeaderFields(),
              "More fields for the service; values may have $variables."),
      Declare("timeout", &T::timeout, conf::Integer<int>{1, 60'000},
              "How long its answer may take in all, in milliseconds."),
      Declare("ssl_verify", &T::ssl_verify, conf::Boolean{},
              "Its certificate is verified against the system's authorities."),
      Declare("keepalive", &T::keepalive, conf::Boolean{}, "Connections are kept for the next."),
      Declare("keepalive_timeout", &T::keepalive_timeout, conf::Integer<int>{1000, 86'400'000},
              "How long an idle one is kept, in milliseconds."),
      Declare("keepalive_pool", &T::keepalive_pool, conf::Integer<int>{1, 100'000},
              "How many idle ones a worker keeps."),
      Declare("allow_degradation", &T::allow_degradation, conf::Boolean{},
              "Requests pass while the service cannot be asked."),
      Declare("status_on_error", &T::status_on_error, conf::Integer<int>{200, 599},
              "Status of the reply when the service cannot be asked."),
      Declare("max_req_body_size", &T::max_req_body_size, conf::Integer<uint64_t>{1, 1'000'000'000},
              "The largest body with POST, in bytes; more is refused with 413."),
  };
  return kFields;
}

void ForwardAuth::FindUpstreams(const conf::Place& plugin, conf::UpstreamSink& sink) {
  AddServiceUpstream<ForwardAuth>(
      plugin, sink, "uri", [](const Config& config, conf::UpstreamConfig& upstream) {
        upstream.tls.verify = config.ssl_verify;
        upstream.keepalive_size =
            config.keepalive ? static_cast<uint32_t>(config.keepalive_pool) : 0;
        upstream.keepalive_idle = milliseconds(config.keepalive_timeout);
      });
}

std::unique_ptr<const Plugin> ForwardAuth::Make(Config config, const PluginBuild& build) {
  auto plugin = std::make_unique<ForwardAuth>();
  auto url = ServiceUrl::Make(config.uri);
  if (!url.has_value()) return nullptr;  // was said when the field was read
  plugin->url_ = *std::move(url);
  plugin->upstream_ = build.UpstreamAt(*build.place.node.Find("uri"));
  for (const auto& [name, value] : config.extra_headers) {
    plugin->extra_headers_.emplace_back(name, CompileTemplate(value, build.place, "extra_headers"));
  }
  plugin->config_ = std::move(config);
  return plugin;
}

SubRequest ForwardAuth::Question(RequestContext& request) const {
  const RequestView& view = request.view();
  SubRequest question;
  question.upstream = upstream_;
  question.target = url_.target;
  question.host = url_.authority;
  question.limit = milliseconds(config_.timeout);
  question.most_body = kMostAnswer;
  auto& fields = question.fields;
  const auto has = [&fields](std::string_view name) {
    return std::any_of(fields.begin(), fields.end(),
                       [name](const auto& field) { return EqualsIgnoreCase(field.first, name); });
  };
  for (const auto& [name, value] : extra_headers_) fields.emplace_back(name, request.Expand(value));
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!has(name)) fields.emplace_back(name, value);
  };
  add("X-Forwarded-Proto", view.scheme);
  add("X-Forwarded-Method", view.head->method_text);
  add("X-Forwarded-Host", view.host);
  add("X-Forwarded-Uri", UriOf(view));
  add("X-Forwarded-For", view.client_text);
  // All of them, as the upstream may take another than the first; but none that stands there.
  const auto copy = [&](std::string_view name) {
    if (has(name)) return;
    for (const HeaderField& field : view.head->fields) {
      if (EqualsIgnoreCase(field.name, name)) fields.emplace_back(name, field.value);
    }
  };
  for (const std::string& name : config_.request_headers) copy(name);
  if (config_.request_method == Ask::kPost) {
    question.method = "POST";
    question.body = request.body();
    for (const std::string_view name : kBodyFields) copy(name);
  }
  return question;
}

Verdict ForwardAuth::OnAccess(RequestContext& request) const {
  SubRequest question = Question(request);
  const auto sender = request.sender();
  // The question has its own limit; this one is for whatever goes wrong with it.
  auto ticket = std::make_shared<Ticket>(request.Suspend(question.limit + seconds(5)));
  sender->Send(std::move(question), [this, ticket](const Result<SubResponse>& answer) {
    // The plugin lives as long as the request.
    if (RequestContext* waiting = ticket->request()) ticket->Resume(Decide(*waiting, answer));
  });
  return Verdict::kSuspend;
}

Verdict ForwardAuth::Decide(RequestContext& request, const Result<SubResponse>& answer) const {
  if (!answer.has_value()) {
    const std::string why =
        "the authorization service " + config_.uri + ": " + answer.error().detail;
    if (config_.allow_degradation) return request.Fail(why, FailureMode::kOpen);
    Log(LogLevel::kWarn, "forward-auth could not ask", {{"reason", why}});
    return request.Reply(config_.status_on_error);
  }
  if (answer->status >= 300) {
    for (const std::string& name : config_.client_headers) {
      CopyAll(
          answer->fields, name,
          [&](std::string_view value) { request.SetResponseHeader(name, value); },
          [&](std::string_view value) { request.AddResponseHeader(name, value); });
    }
    const HeaderField* const type = answer->fields.Find("Content-Type");
    return request.Reply(answer->status, request.arena().Copy(answer->body),
                         type == nullptr ? "text/plain" : request.arena().Copy(type->value));
  }
  for (const std::string& name : config_.upstream_headers) {
    RemoveLookAlikes(request, name);
    CopyAll(
        answer->fields, name, [&](std::string_view value) { request.SetHeader(name, value); },
        [&](std::string_view value) { request.AddHeader(name, value); });
  }
  return Verdict::kContinue;
}

}  // namespace sluice::plugins
