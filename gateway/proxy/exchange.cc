#include "gateway/proxy/exchange.h"

#include <memory>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/base/ticks.h"
#include "gateway/http/uri.h"
#include "gateway/proxy/client_address.h"
#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/error_reply.h"
#include "gateway/proxy/exchange_client.h"
#include "gateway/proxy/exchange_plugins.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/grpc.h"

namespace sluice {
namespace {

// A form body that routing has to look at (post_arg_*) is collected up to this size.
constexpr size_t kFormLimit = 64 * 1024;
constexpr std::string_view kFormType = "application/x-www-form-urlencoded";

}  // namespace

Exchange::Exchange(ProxyContext& context)
    : context_(context),
      tunnel_(context.loop, *this),
      call_(context, *this),
      deadline_(context.loop.deadlines(), *this) {}

Exchange::~Exchange() = default;

// The life of a request, in order. Each step may end it with a reply.
void Exchange::Begin(ExchangeClient& client, RequestHead& head) {
  // 1 pin the snapshot, know the client
  Prepare(client, head);
  // 2 refuse what is never served
  if (const Status status = CheckMethod(); !status.has_value()) return Reply(status.error());
  // 3 one path for all that follows
  if (const Status status = Normalize(); !status.has_value()) return Reply(status.error());
  if (const Status status = CheckTls(); !status.has_value()) return Reply(status.error());
  if (const Status status = CheckForwarding(head, context_.gateway().via); !status.has_value()) {
    return Reply(status.error());
  }
  if (IsLastRecipient(head)) return AnswerOptions();
  // 4 match a route; when that needs the body, OnRequestEnd does it
  if (NeedsFormBody()) {
    state_ = State::kCollecting;
    collect_limit_ = kFormLimit;
    if (head.expect_continue) client.SendContinue();
    return;
  }
  MatchRoute();
  // 5 rewrite and access of plugins; 6 Call the upstream
  // 7 OnResponseHead, header_filter; OnResponseData, body_filter; OnResponseEnd
  // 8 Finish logs, exactly once
}

void Exchange::BeginOwn(ExchangeClient& client, RequestHead& head,
                        std::shared_ptr<const ActiveSnapshot> active, size_t upstream,
                        Duration limit) {
  client_ = &client;
  active_ = std::move(active);
  is_own_ = true;
  match_ = {};
  started_ = ReadTicks();
  id_ = context_.NextRequestId();
  view_ = RequestView();
  view_.head = request_head_ = &head;
  view_.host = head.authority;
  view_.path = head.path;
  CallUpstream(upstream, active_->snapshot->config().upstreams[upstream].timeout, limit);
}

void Exchange::Refuse(ExchangeClient& client, RequestHead& head, const Error& error) {
  Prepare(client, head);
  view_.path = head.path;
  Reply(error);
}

void Exchange::Record(ExchangeClient& client, RequestHead& head, const Error& error) {
  Prepare(client, head);
  view_.path = head.path;
  LogRefusal(error);
  state_ = State::kRelaying;
  status_ = StatusOf(error.code);
  Finish(error.code);
}

void Exchange::Prepare(ExchangeClient& client, RequestHead& head) {
  client_ = &client;
  active_ = context_.active;
  started_ = ReadTicks();
  id_ = context_.NextRequestId();
  ++context_.requests;
  context_.counters.present.exchanges.Add();
  // In place, where an assignment would clear another one and copy it.
  std::destroy_at(&view_);
  std::construct_at(&view_);
  view_.head = request_head_ = &head;
  const ClientConnection& connection = *client.connection();
  view_.scheme = "http";
  if (const TlsSession* tls = connection.tls(); tls != nullptr) {
    view_.scheme = "https";
    view_.tls_protocol = tls->protocol();
    view_.tls_cipher = tls->cipher();
    view_.tls_server_name = tls->server_name();
    view_.tls_client_verified = tls->has_verified_peer();
  }
  view_.peer_ip = connection.peer_ip();
  view_.client_port = connection.peer_port();
  view_.peer_text = connection.peer_text();
  const ClientAddress address =
      FindClientAddress(view_.peer_ip, head.fields, context_.gateway().trusted_proxies);
  view_.peer_is_trusted = address.peer_is_trusted;
  view_.client_ip = address.ip;
  view_.client_text =
      address.ip == view_.peer_ip ? view_.peer_text : arena_.Copy(address.ip.ToString());
  view_.server = &connection.server_address();
}

Status Exchange::Normalize() {
  const RequestHead& head = *view_.head;
  view_.host = NormalizeHost(head.authority, arena_);
  SLUICE_ASSIGN_OR_RETURN(view_.path, NormalizePath(head.path, arena_));
  return {};
}

// Is the connection's certificate for that host, and the client's what that host asks for?
Status Exchange::CheckTls() const {
  const TlsSession* tls = client_->connection()->tls();
  const TlsResources& resources = *active_->tls;
  if (tls == nullptr || resources.server() == nullptr) return {};
  if (!tls->MayServe(view_.host, *resources.server())) {
    return ClientError(ErrorCode::kMisdirectedRequest,
                       "expected a host of this connection's certificate, got \"" +
                           std::string(view_.host) + "\"");
  }
  const TlsIdentity& identity = *tls->identity();
  if (!identity.verification_is_optional() || tls->has_verified_peer() ||
      resources.SkipsVerification(identity, view_.path)) {
    return {};
  }
  return ClientError(ErrorCode::kClientCertificate,
                     "expected a certificate of the client that can be verified");
}

Status Exchange::CheckMethod() const {
  const RequestHead& head = *view_.head;
  if (head.method != Method::kConnect && head.method != Method::kTrace) return {};
  return ClientError(
      ErrorCode::kMethodNotAllowed,
      "expected a method other than CONNECT and TRACE, got " + std::string(head.method_text));
}

// What the client may send: as a plugin says, otherwise as the gateway does. 0: any. Answers to
// requests of our own are bounded by who asks.
uint64_t Exchange::body_limit() const {
  if (is_own_) return 0;
  const auto plugins = has_plugins_ ? plugins_->run.body_limit() : std::nullopt;
  return plugins.value_or(context_.gateway().client_max_body_size);
}

// The length that is announced, or what has come; a complete body may be a plugin's in the head.
Status Exchange::CheckBodyLength() const {
  const BodyFraming& body = view_.head->body;
  const bool is_announced = !request_ended_ && body.kind == BodyFraming::Kind::kLength;
  const uint64_t length = is_announced ? body.length : body_bytes_in_;
  const uint64_t limit = body_limit();
  if (limit == 0 || length <= limit) return {};
  return ClientError(ErrorCode::kBodyTooLarge, "expected a body of at most " +
                                                   std::to_string(limit) + " bytes, got " +
                                                   std::to_string(length));
}

bool Exchange::NeedsFormBody() const {
  if (!active_->snapshot->router().needs_body() || !view_.head->body.has_body()) return false;
  const std::string_view type = view_.head->fields.Value(HeaderId::kContentType);
  return EqualsIgnoreCase(TrimOws(type.substr(0, type.find(';'))), kFormType);
}

void Exchange::MatchRoute() {
  const Snapshot& snapshot = *active_->snapshot;
  match_ = snapshot.router().Match(view_);
  route_ = match_.route;
  if (route_ != nullptr) {
    view_.route_id = route_->id;
    view_.service_id = route_->service_id;
  }
  const Chain* const chain = match_ ? snapshot.chain(*route_) : snapshot.plugins().without_route();
  if (chain != nullptr) return BeginPlugins(*chain);
  Call();
}

void Exchange::Call() {
  if (const Status status = CheckBodyLength(); !status.has_value()) return Reply(status.error());
  const Snapshot& snapshot = *active_->snapshot;
  const RouteMatch& match = match_;
  if (!match) {
    return Reply(ClientError(ErrorCode::kNoRoute, "no route matches"));
  }
  const int32_t chosen = has_plugins_ ? plugins_->run.upstream() : -1;
  const int32_t upstream = chosen >= 0 ? chosen : match.upstream;
  if (upstream < 0) {
    return Reply(GatewayError(ErrorCode::kNoUpstream, "route " + route_->id + " has no upstream"));
  }
  const auto index = static_cast<size_t>(upstream);
  const conf::UpstreamTimeouts& timeouts =
      match.has_timeout ? *route_->timeout : snapshot.config().upstreams[index].timeout;
  CallUpstream(index, timeouts, timeouts.total);
}

void Exchange::CallUpstream(size_t index, const conf::UpstreamTimeouts& timeouts, Duration total) {
  state_ = State::kCalling;
  upstream_index_ = index;
  upstream_ = &active_->snapshot->config().upstreams[index];
  SetDeadline(total);
  if (match_.enable_websocket && !upstream_->http2 && Tunnel::IsAskedFor(*view_.head)) {
    tunnel_.Ask();
  }
  if (view_.head->websocket && !tunnel_.is_asked()) {
    return Reply(ClientError(ErrorCode::kMethodNotAllowed,
                             "expected a route with enable_websocket and an HTTP/1 upstream"));
  }
  called_ = ReadTicks();
  call_.Start(active_->upstreams[upstream_index_], *upstream_, timeouts);
}

// The client's own time limit or ours, whichever ends first.
void Exchange::SetDeadline(Duration total) {
  const MonoTime now = context_.loop.now();
  if (IsGrpc(*view_.head)) {
    const HeaderField* timeout = view_.head->fields.Find("grpc-timeout");
    const auto limit = timeout == nullptr ? std::nullopt : ParseGrpcTimeout(timeout->value);
    if (limit) deadline_.Set(now + *limit);
  }
  deadline_is_ours_ = total > Duration::zero() && now + total < deadline_.at();
  if (deadline_is_ours_) deadline_.Set(now + total);
}

UpstreamRequest Exchange::RequestFor(const Endpoint& endpoint,
                                     const conf::UpstreamConfig& config) const {
  const std::string_view authority = view_.head->authority;
  UpstreamRequest request{
      .view = view_,
      .host = authority.empty() ? endpoint.node_host : authority,
      .via = context_.gateway().via,
      .server_port = is_own_ ? uint16_t{0} : client_->connection()->listen_port(),
      .peer_is_trusted = view_.peer_is_trusted,
      .upgrade = tunnel_.is_asked(),
      .own = is_own_};
  if (has_plugins_) {
    const UpstreamRewrite& rewrite = plugins_->run.rewrite();
    request.rewritten_method = rewrite.method;
    request.rewritten_target = rewrite.target;
    if (!rewrite.host.empty()) request.host = rewrite.host;
  }
  if (config.pass_host == conf::UpstreamConfig::PassHost::kNode) {
    request.host = endpoint.node_host;
  } else if (config.pass_host == conf::UpstreamConfig::PassHost::kRewrite) {
    request.host = config.upstream_host;
  }
  return request;
}

void Exchange::OnRequestData(std::string_view bytes) {
  if (state_ == State::kTunnel) {
    tunnel_.OnBytes();
    return call_.SendBody(bytes);
  }
  body_bytes_in_ += bytes.size();
  const uint64_t limit = body_limit();
  if (limit > 0 && body_bytes_in_ > limit) {
    return OnRequestFailed(
        ClientError(ErrorCode::kBodyTooLarge,
                    "expected a body of at most " + std::to_string(limit) + " bytes"));
  }
  if (state_ == State::kCollecting) {
    if (collected_.size() + bytes.size() > collect_limit_) return RefuseBody(collect_limit_);
    return collected_.Append(bytes);
  }
  if (state_ != State::kCalling && state_ != State::kRelaying) return;
  if (has_plugins_) plugins_->run.SampleBody(bytes);
  call_.SendBody(bytes);
}

void Exchange::OnRequestEnd(const HeaderList& trailers) {
  request_ended_ = true;
  request_trailers_ = trailers.empty() ? nullptr : &trailers;
  if (state_ == State::kCollecting) {
    if (suspended_) return;
    if (has_plugins_) return RunPlugins();
    const ExchangeClient& client = *client_;
    view_.form_body = collected_.view();
    MatchRoute();
    if (!client.is_serving(*this) || has_plugins_) return;  // refused and given back; or on its way
    call_.SendBody(view_.form_body);
  }
  if (state_ == State::kTunnel) return OnTunnelSideEnd(Tunnel::Side::kClient);
  if (state_ == State::kCalling || state_ == State::kRelaying) call_.FinishBody(trailers);
}

void Exchange::OnRequestFailed(const Error& error) {
  if (state_ == State::kRelaying && !suspended_) {
    // The response has begun: all that is left is to cut it, so that nobody takes it for complete.
    call_.End();
    client_->AbortResponse();
    return Finish(error.code);
  }
  Reply(error);
}

void Exchange::OnClientGone(ErrorCode reason) {
  if (state_ == State::kIdle || state_ == State::kDone) return;
  if (status_ == 0) status_ = StatusOf(reason);
  call_.End();
  // How a client leaves when all was said is its own matter: some reset an HTTP/2 stream.
  const bool was_ending = state_ == State::kTunnel && tunnel_.is_ending();
  Finish(was_ending && reason == ErrorCode::kClientClosed ? ErrorCode::kNone : reason);
}

void Exchange::OnInformational(ResponseHead& head) {
  if (head.status == 101) return OnSwitchingProtocols(head);
  if (view_.head->version == HttpVersion::kHttp10) return;
  if (head.status == 100 && !view_.head->expect_continue) return;
  client_->SendInformational(head);
}

void Exchange::OnSwitchingProtocols(const ResponseHead& head) {
  Status status = Tunnel::CheckAnswer(*view_.head, head);
  if (!tunnel_.is_asked()) {
    status = UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                           "expected no 101 Switching Protocols, as no upgrade was asked for");
  }
  if (!status.has_value()) {
    call_.End();
    return OnCallFailed(status.error());
  }
  state_ = State::kTunnel;
  context_.counters.present.tunnels.Add();
  status_ = upstream_status_ = head.status;
  head_received_ = ReadTicks();
  tunnel_.Open(call_.timeouts().read);
  call_.BeginTunnel();
  client_->BeginTunnel(head);
}

void Exchange::OnTunnelEnd() {
  client_->FinishResponse(HeaderList());
  OnTunnelSideEnd(Tunnel::Side::kUpstream);
}

void Exchange::OnTunnelSideEnd(Tunnel::Side side) {
  if (side == Tunnel::Side::kClient) call_.FinishBody(HeaderList());
  if (!tunnel_.End(side)) return;
  call_.EndTunnel();
  Finish(ErrorCode::kNone);
}

bool Exchange::EndTunnel(ErrorCode reason) {
  if (state_ != State::kTunnel) return false;
  if (const std::string_view goodbye = tunnel_.Goodbye(); !goodbye.empty()) {
    client_->SendResponseData(goodbye);
  }
  client_->FinishResponse(HeaderList());
  call_.EndTunnel();
  Finish(reason);
  return true;
}

void Exchange::PauseResponse() {
  client_is_blocked_ = true;
  tunnel_.SetBlocked(Tunnel::Side::kClient, true);
  call_.PauseResponse();
}

void Exchange::ResumeResponse() {
  client_is_blocked_ = false;
  tunnel_.SetBlocked(Tunnel::Side::kClient, false);
  if (!suspended_) call_.ResumeResponse();
}

void Exchange::OnResponseHead(ResponseHead& head) {
  // RFC 8441 5: to this client a 2xx would say that the tunnel is open.
  if (request_head_->websocket && head.status < 300) {
    call_.End();
    return OnCallFailed(
        UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                      "expected 101 Switching Protocols, got " + std::to_string(head.status)));
  }
  state_ = State::kRelaying;
  // The client may take bytes for a tunnel's that are none: they must not become a request.
  if (tunnel_.is_asked()) client_->CloseAfterResponse();
  status_ = upstream_status_ = head.status;
  head_received_ = ReadTicks();
  if (has_plugins_ && FilterHead(head, true)) return;
  client_->SendResponseHead(head, context_.gateway().via);
}

void Exchange::OnResponseData(std::string_view bytes) {
  tunnel_.OnUpstreamBytes(bytes);
  if (filters_response_ && state_ == State::kRelaying) return OnFilteredData(bytes);
  body_bytes_out_ += bytes.size();
  client_->SendResponseData(bytes);
}

void Exchange::OnResponseRelayed(uint64_t count) {
  body_bytes_out_ += count;
  client_->CountRelayed(count);
}

Stream* Exchange::relay_sink() const {
  if (state_ != State::kRelaying || suspended_) return nullptr;
  if (filters_response_ && (plugins_->run.filters_body() || !plugins_->body_allowed))
    return nullptr;
  return client_->relay_sink();
}

void Exchange::OnResponseEnd(const HeaderList& trailers) {
  if (filters_response_) return OnFilteredEnd(trailers);
  client_->FinishResponse(trailers);
  Finish(ErrorCode::kNone);
}

void Exchange::OnCallFailed(const Error& error) {
  // A response that waits for header_filter has not begun for the client.
  if ((state_ == State::kRelaying && !suspended_) || state_ == State::kTunnel) {
    Log(LogLevel::kWarn, state_ == State::kTunnel ? "tunnel cut" : "response cut short",
        {{"reason", ReasonName(error.code)}, {"detail", error.detail}});
    client_->AbortResponse();
    return Finish(error.code);
  }
  Reply(error);
}

void Exchange::PauseRequestBody() {
  tunnel_.SetBlocked(Tunnel::Side::kUpstream, true);
  client_->PauseRequestBody();
}

void Exchange::ResumeRequestBody() {
  tunnel_.SetBlocked(Tunnel::Side::kUpstream, false);
  client_->ResumeRequestBody();
}

void Exchange::OnDeadline() {
  if (state_ != State::kCalling && state_ != State::kRelaying) return;
  if (deadline_is_ours_) {
    return call_.Fail(UpstreamError(ErrorCode::kTotalTimeout, Retry::kNever,
                                    upstream_->key + ": timeout.total has passed"));
  }
  call_.End();
  OnCallFailed(UpstreamError(ErrorCode::kUpstreamReadTimeout, Retry::kNever,
                             "the client's grpc-timeout has passed"));
}

void Exchange::Reset() {
  call_.Reset();
  tunnel_.Close();
  arena_.Reset();
  collected_.Clear();
  active_.reset();
  route_ = nullptr;
  upstream_ = nullptr;
  state_ = State::kIdle;
  is_own_ = suspended_ = filters_response_ = request_ended_ = client_is_blocked_ = false;
  reason_ = end_reason_ = ErrorCode::kNone;
  status_ = upstream_status_ = 0;
  body_bytes_in_ = body_bytes_out_ = 0;
  called_ = 0;
}

}  // namespace sluice
