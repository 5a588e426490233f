// The part of Exchange that deals with plugins.
#include "gateway/proxy/exchange_plugins.h"

#include <algorithm>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/proxy/error_reply.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/exchange_client.h"
#include "gateway/proxy/grpc.h"
#include "gateway/proxy/own_request.h"

namespace sluice {
namespace {

// The client may send bytes of a tunnel behind this request, which must not become a request.
bool AsksForTunnel(const RouteMatch& match, const RequestHead& head) {
  return match && match.enable_websocket && Tunnel::IsAskedFor(head);
}

}  // namespace

ExchangePlugins::ExchangePlugins(ProxyContext& context, Exchange& exchange)
    : run(*this), context_(context), exchange_(exchange), timer_(context.loop) {}

void ExchangePlugins::Begin(const Chain& chain, RequestView& view, RequestHead& request,
                            Arena& arena, std::span<PluginCost* const> costs) {
  run.Begin(chain, {.view = view,
                    .head = request,
                    .arena = arena,
                    .services = context_.plugin_services,
                    .suspensions = context_.suspensions,
                    .costs = costs});
}

void ExchangePlugins::End() {
  run.End();
  response_.reset();
  head.fields.Clear();
  held.Clear();
  held_trailers.Clear();
  response_begun = held_end = false;
  body_allowed = true;
}

ChainRun::Result ExchangePlugins::FilterHead(const ResponseHead& response, bool is_upstreams,
                                             Arena& arena) {
  response_begun = true;
  from_upstream = is_upstreams;
  head = response;
  run.ApplyTo(head);
  response_.emplace(head, arena, is_upstreams);
  const ChainRun::Result result = run.RunHeaderFilter(*response_);
  if (result != ChainRun::Result::kSuspended) return result;
  // Its owner may be gone when it is sent.
  HeaderList copy;
  CopyFields(head.fields, arena, copy);
  head.fields = std::move(copy);
  head.reason = arena.Copy(head.reason);
  return result;
}

void ExchangePlugins::KeepFields(const ResponseHead& sent, Arena& arena) {
  if (response_ && response_->keeps_fields()) CopyFields(sent.fields, arena, run.kept_fields());
}

std::string_view ExchangePlugins::FilterBody(std::string_view bytes, bool is_last) {
  if (!body_allowed) return {};
  if (!run.filters_body()) return bytes;
  BodyPiece piece(bytes, is_last);
  run.RunBodyFilter(piece);
  return piece.is_owned() ? context_.loop.scratch().Copy(piece.bytes()) : piece.bytes();
}

void ExchangePlugins::OnChainResumed(ChainRun::Result result) { exchange_.OnChainResumed(result); }

void ExchangePlugins::SetTimeLimit(MonoTime at) {
  if (at == MonoTime::max()) {
    if (std::exchange(timer_runs_, false)) timer_.Stop();
    return;
  }
  timer_runs_ = true;
  timer_.Start(std::max(at - context_.loop.now(), Duration::zero()), [this] {
    timer_runs_ = false;
    run.OnTimeLimit();
  });
}

std::shared_ptr<SubRequestSender> ExchangePlugins::sender() {
  return MakeSender(context_, exchange_.active());
}

void CopyFields(const HeaderList& fields, Arena& arena, HeaderList& to) {
  for (const HeaderField& field : fields) {
    HeaderField copy = field;
    copy.name = arena.Copy(field.name);
    copy.value = arena.Copy(field.value);
    to.Add(copy);
  }
}

// --- the request ---------------------------------------------------------------------------------

void Exchange::BeginPlugins(const Chain& chain) {
  if (plugins_ == nullptr) plugins_ = std::make_unique<ExchangePlugins>(context_, *this);
  has_plugins_ = true;
  plugins_->Begin(chain, view_, *request_head_, arena_, active_->series->costs());
  RunPlugins();
}

void Exchange::RunPlugins() {
  state_ = State::kCollecting;
  collect_limit_ = UINT64_MAX;  // what still comes is limited by the pause
  if (request_ended_ || !view_.head->body.has_body()) plugins_->run.SetBody(collected_.view());
  OnPluginsDone(plugins_->run.RunRequest());
}

void Exchange::CollectBody(uint64_t limit) {
  const BodyFraming& body = view_.head->body;
  const bool known = body.kind == BodyFraming::Kind::kLength && body.length > limit;
  if (known || std::max(plugins_->run.body().size(), collected_.size()) > limit) {
    return RefuseBody(limit);
  }
  if (request_ended_) return RunPlugins();  // during a suspension
  collect_limit_ = limit;
  if (view_.head->expect_continue) client_->SendContinue();
}

void Exchange::OnPluginsDone(ChainRun::Result result) {
  switch (result) {
    case ChainRun::Result::kSuspended:
      suspended_ = true;
      return client_->PauseRequestBody();
    case ChainRun::Result::kNeedsBody:
      return CollectBody(plugins_->run.body_wanted());
    case ChainRun::Result::kReply:
      plugins_->run.SampleBody(collected_.view());
      return ReplyFromPlugin();
    case ChainRun::Result::kFailed:
      return ReplyPluginFailed();
    case ChainRun::Result::kDone:
      plugins_->run.SampleBody(collected_.view());
      break;
  }
  ExchangeClient& client = *client_;
  const uint64_t number = client.request_number();
  const ChainRun& run = plugins_->run;
  const bool had_body = !collected_.empty() || !run.body().empty();
  Call();
  // Otherwise it was refused and given back, and perhaps taken for the next one.
  const bool lives = client.is_serving(*this) && client.request_number() == number;
  if (!lives || state_ != State::kCalling) return;
  if (had_body) call_.SendBody(run.has_body() ? run.body() : collected_.view());
  if (!request_ended_) return;
  call_.FinishBody(request_trailers_ == nullptr ? HeaderList() : *request_trailers_);
}

void Exchange::OnChainResumed(ChainRun::Result result) {
  suspended_ = false;
  if (plugins_->response_begun) return OnHeadFiltered(result, true);
  ExchangeClient& client = *client_;
  const uint64_t number = client.request_number();
  OnPluginsDone(result);
  const bool lives = client.is_serving(*this) && client.request_number() == number;
  if (lives && !suspended_ && !call_.holds_body_back()) client.ResumeRequestBody();
}

void Exchange::ReplyPluginFailed() {
  const ChainRun& run = plugins_->run;
  if (AsksForTunnel(match_, *view_.head)) client_->CloseAfterResponse();
  Reply(GatewayError(ErrorCode::kPluginFailed,
                     std::string(run.failed_plugin()) + ": " + std::string(run.failure())));
}

void Exchange::ReplyFromPlugin() {
  call_.End();
  const PluginReply& reply = plugins_->run.reply();
  if (AsksForTunnel(match_, *view_.head)) client_->CloseAfterResponse();
  Arena& scratch = context_.loop.scratch();
  std::string_view body = reply.body;
  if (IsGrpc(*view_.head)) {
    return ReplyInGrpc(ErrorCode::kPluginReply, reply.status,
                       reply.message.empty() ? StatusText(reply.status) : reply.message);
  }
  ResponseHead head;
  head.status = reply.status;
  head.fields.Add("Server", "sluice");
  if (body.empty() && reply.status >= 400) {
    body = scratch.Copy(ErrorBody(ErrorCode::kPluginReply, reply.status));
    head.fields.Add("Content-Type", "application/json");
  } else if (!body.empty()) {
    head.fields.Add("Content-Type", reply.content_type);
  }
  head.body = {BodyFraming::Kind::kLength, body.size()};
  Respond(head, body, ErrorCode::kPluginReply);
}

void Exchange::OnAttempt(const Endpoint& endpoint) {
  if (has_plugins_) plugins_->run.RunBeforeProxy(endpoint.name);
}

Method Exchange::upstream_method() const {
  const std::string_view method =
      has_plugins_ ? plugins_->run.rewrite().method : std::string_view();
  return method.empty() ? view_.method() : FindMethod(method);
}

// --- the response --------------------------------------------------------------------------------

// A response of ours, complete as it is.
void Exchange::Respond(ResponseHead& head, std::string_view body, ErrorCode reason) {
  state_ = State::kRelaying;
  end_reason_ = reason;
  status_ = head.status;
  if (head.status == 204 || head.status == 304) head.body = {};
  if (has_plugins_) {
    if (FilterHead(head, false, body)) return;
    // A plugin's lies in the arena, which ends with this exchange; what is sent, with the callback.
    body = context_.loop.scratch().Copy(body);
  }
  client_->SendResponseHead(head, {});
  if (view_.head->method != Method::kHead && head.body.has_body()) {
    body_bytes_out_ += body.size();
    client_->SendResponseData(body);
  }
  client_->FinishResponse(HeaderList());
  Finish(reason);
}

// True: the response goes through header_filter, which sends what comes of it. `body` is all of a
// response of ours.
bool Exchange::FilterHead(ResponseHead& head, bool from_upstream, std::string_view body) {
  view_.response_status = head.status;
  if (plugins_->response_begun) {
    plugins_->KeepFields(head, arena_);
    return false;
  }
  if (!plugins_->run.filters_response()) {
    plugins_->run.ApplyTo(head);
    return false;
  }
  filters_response_ = true;
  plugins_->held.Append(body);
  plugins_->held_end = !from_upstream;
  const ChainRun::Result result = plugins_->FilterHead(head, from_upstream, arena_);
  if (result != ChainRun::Result::kSuspended) return OnHeadFiltered(result, false), true;
  suspended_ = true;
  call_.PauseResponse();
  client_->PauseRequestBody();
  return true;
}

// The head may go, with what has come behind it.
void Exchange::OnHeadFiltered(ChainRun::Result result, bool was_held) {
  if (result == ChainRun::Result::kReply) return ReplyFromPlugin();
  if (result == ChainRun::Result::kFailed) return ReplyPluginFailed();
  ExchangePlugins& plugins = *plugins_;
  ResponseHead& head = plugins.head;
  plugins.body_allowed =
      view_.head->method != Method::kHead && head.status != 204 && head.status != 304;
  if (head.status == 204) head.body = {};
  status_ = head.status;
  plugins.KeepFields(head, arena_);
  const std::string_view via = plugins.from_upstream ? context_.gateway().via : std::string_view();
  client_->SendResponseHead(head, via);
  if (!plugins.held.empty()) {
    const Buffer held = std::exchange(plugins.held, Buffer());
    SendFiltered(context_.loop.scratch().Copy(held.view()), false);
  }
  if (plugins.held_end) return EndFiltered(plugins.held_trailers);
  if (!was_held) return;
  if (!client_is_blocked_) call_.ResumeResponse();
  if (!call_.holds_body_back()) client_->ResumeRequestBody();
}

void Exchange::OnFilteredData(std::string_view bytes) {
  suspended_ ? plugins_->held.Append(bytes) : SendFiltered(bytes, false);
}

void Exchange::OnFilteredEnd(const HeaderList& trailers) {
  if (!suspended_) return EndFiltered(trailers);
  plugins_->held_end = true;
  plugins_->held_trailers.Clear();
  CopyFields(trailers, arena_, plugins_->held_trailers);
}

void Exchange::SendFiltered(std::string_view bytes, bool is_last) {
  const std::string_view filtered = plugins_->FilterBody(bytes, is_last);
  if (filtered.empty()) return;
  body_bytes_out_ += filtered.size();
  client_->SendResponseData(filtered);
}

void Exchange::EndFiltered(const HeaderList& trailers) {
  SendFiltered({}, true);
  client_->FinishResponse(trailers);
  Finish(end_reason_);
}

}  // namespace sluice
