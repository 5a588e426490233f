#include "gateway/proxy/upstream_call.h"

#include <algorithm>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/net/proxy_protocol.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/retry_policy.h"
#include "gateway/proxy/upstream_connection.h"

namespace sluice {
namespace {

// A request body up to this size is kept until the response begins, so that it can be sent again.
constexpr size_t kReplayLimit = 64 * 1024;

// Whose certificate is expected, and asked for: the host that the request names, without the port.
std::string TlsName(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return ToLower(host.substr(0, host.find(':')));
}

}  // namespace

UpstreamCall::UpstreamCall(ProxyContext& context, Exchange& exchange)
    : context_(context), exchange_(exchange), deadline_(context.loop.deadlines(), *this) {}

UpstreamCall::~UpstreamCall() = default;

void UpstreamCall::Start(std::shared_ptr<UpstreamState> upstream,
                         const conf::UpstreamConfig& config,
                         const conf::UpstreamTimeouts& timeouts) {
  upstream_ = std::move(upstream);
  config_ = &config;
  timeouts_ = timeouts;
  started_ = context_.loop.now();
  const size_t endpoints = std::max<size_t>(upstream_->endpoint_count(), 1);
  retries_left_ = config.retries.value_or(static_cast<uint32_t>(endpoints - 1));
  permit_.Begin(upstream_->admission(), config.key);
  if (!permit_.PassUpstream(started_)) {
    retry_after_ = permit_.retry_after();
    return GiveUp(GatewayError(ErrorCode::kCircuitOpen, config.key + ": the circuit is open"));
  }
  if (!permit_.TakeRequest(false)) return WaitForPlace(Wait::kRequestPlace);
  Attempt();
}

void UpstreamCall::Attempt() {
  if (const std::shared_ptr<Endpoint> endpoint = Pick(tried_)) return AttemptOn(endpoint, false);
  if (tried_.empty() && upstream_->is_resolving()) {
    wait_ = Wait::kName;
    upstream_->AddWaiter(*this);
    deadline_.Set(context_.loop.now() + timeouts_.connect);
    return;
  }
  const auto delay = upstream_->CircuitDelay(context_.loop.now());
  retry_after_ = delay.value_or(permit_.retry_after());
  const bool open = retry_after_ > Duration::zero();
  GiveUp(GatewayError(open ? ErrorCode::kCircuitOpen : ErrorCode::kNoHealthyNode,
                      config_->key + ": no node can be tried"));
}

// One that its breaker refuses after all is as good as tried.
std::shared_ptr<Endpoint> UpstreamCall::Pick(Endpoints& excluded) {
  PickRequest request{.tried = excluded, .key = {}, .now = context_.loop.now()};
  if (upstream_->hashes()) request.key = exchange_.HashKeyText(upstream_->key_scratch());
  const size_t size = excluded.size();
  std::shared_ptr<Endpoint> endpoint = upstream_->Pick(request);
  while (endpoint != nullptr && !permit_.PassEndpoint(*endpoint, request.now)) {
    excluded.push_back(std::move(endpoint));
    request.tried = excluded;
    endpoint = upstream_->Pick(request);
  }
  excluded.resize(size);
  return endpoint;
}

void UpstreamCall::OnEndpointsChanged() {
  StopWaiting();
  Attempt();
}

void UpstreamCall::WaitForPlace(Wait what) {
  if (!upstream_->admission().Enqueue(*this)) {
    return GiveUp(
        GatewayError(ErrorCode::kUpstreamOverflow,
                     config_->key + ": its limits are reached, and nobody more may wait"));
  }
  wait_ = what;
  deadline_.Set(context_.loop.now() + config_->limits.pending_timeout);
}

bool UpstreamCall::OnPlaceFree() {
  if (wait_ == Wait::kRequestPlace) {
    if (!permit_.TakeRequest(true)) return false;
    StopWaiting();
    Attempt();
    return true;
  }
  UpstreamWay way = WayTo(*next_);
  if (!TakeConnection(*next_, next_is_fresh_, way, true)) return false;
  StopWaiting();
  BeginAttempt(std::exchange(next_, nullptr), std::move(way));
  return true;
}

void UpstreamCall::StopWaiting() {
  if (std::exchange(wait_, Wait::kNothing) == Wait::kNothing) return;
  deadline_.Cancel();
  if (back_off_ != nullptr) back_off_->Stop();
  UpstreamState::Waiter::Unlink();
  upstream_->admission().Leave(*this);
}

void UpstreamCall::OnDeadline() {
  switch (wait_) {
    case Wait::kNothing:
      return;
    case Wait::kName:
      return GiveUp(GatewayError(ErrorCode::kNoHealthyNode,
                                 config_->key + ": no node name was resolved in time"));
    case Wait::kRequestPlace:
    case Wait::kConnectionPlace:
      return GiveUp(GatewayError(ErrorCode::kUpstreamOverflow,
                                 config_->key + ": no place became free in time"));
    case Wait::kBackOff:
      StopWaiting();
      return AttemptOn(std::exchange(next_, nullptr), false);
    case Wait::kHead:
      return OnAttemptFailed(UpstreamError(ErrorCode::kUpstreamTryTimeout, Retry::kIdempotent,
                                           endpoint()->name + ": no response in time"),
                             false);
  }
}

UpstreamWay UpstreamCall::WayTo(const Endpoint& endpoint) const {
  UpstreamWay way{.timeout = timeouts_.connect};
  if (config_->tls_scheme) {
    way.tls = exchange_.upstream_tls();
    way.tls_name = TlsName(exchange_.RequestFor(endpoint, *config_).host);
  }
  return way;
}

void UpstreamCall::AttemptOn(std::shared_ptr<Endpoint> endpoint, bool fresh) {
  UpstreamWay way = WayTo(*endpoint);
  if (TakeConnection(*endpoint, fresh, way, false)) {
    return BeginAttempt(endpoint, std::move(way));
  }
  next_ = std::move(endpoint);
  next_is_fresh_ = fresh;
  WaitForPlace(Wait::kConnectionPlace);
}

// A kept connection, which channel_ is then (of HTTP/2 one that others share, without channel_), or
// a place for another one.
bool UpstreamCall::TakeConnection(Endpoint& endpoint, bool fresh, UpstreamWay& way, bool waited) {
  Admission& admission = upstream_->admission();
  const bool limited = admission.limits().connections > 0;
  if (config_->http2 && !limited) return true;
  if (limited && !waited && admission.has_waiters()) return false;
  if (config_->http2) {
    if (Http2Upstream::IsThere(endpoint, way)) return true;
  } else {
    // With a PROXY header a connection speaks for one client: none is taken that others have used.
    const bool share = config_->proxy_protocol == 0 && !fresh;
    channel_ = share ? UpstreamConnection::TakeIdle(endpoint, *this, way) : nullptr;
    if (channel_ != nullptr || !limited) return true;
  }
  const auto take = [&] { return admission.TryTake(EndpointTable::Counter::kConnections, waited); };
  way.counted = take() || (upstream_->CloseIdle() && take());
  return way.counted;
}

void UpstreamCall::BeginAttempt(const std::shared_ptr<Endpoint>& endpoint, UpstreamWay way) {
  ++attempts_;
  status_ = 0;
  reported_ = false;
  permit_.OnAttempt(context_.loop.now());
  Occupy(endpoint.get());
  timed_ = upstream_->WantsLatency();
  if (timed_) attempt_started_ = MonoNow();
  if (tried_.empty() || tried_.back() != endpoint) tried_.push_back(endpoint);
  WatchHead();
  if (config_->http2) {
    if (http2_ == nullptr) http2_ = std::make_unique<Http2Channel>(context_, *this);
    channel_ = http2_.get();
    if (http2_->Join(context_, upstream_, endpoint, *config_, std::move(way))) return SendRequest();
    attempt_started_ = MonoNow();
    return;
  }
  if (channel_ != nullptr) return SendRequest();
  attempt_started_ = MonoNow();
  way.preface = ProxyPreface();
  channel_ = &UpstreamConnection::Connect(context_, upstream_, endpoint, *this, std::move(way));
}

// The time of an attempt counts as soon as it is not the client's turn any more.
void UpstreamCall::WatchHead() {
  const Duration limit = config_->retry.per_try_timeout;
  if (limit == Duration::zero() || !body_done_ || response_started_) return;
  wait_ = Wait::kHead;
  deadline_.Set(context_.loop.now() + limit);
}

// Counts this call at `endpoint`, and no longer where it was counted before.
void UpstreamCall::Occupy(Endpoint* endpoint) {
  using Counter = EndpointTable::Counter;
  if (occupied_ == endpoint) return;
  if (occupied_ != nullptr) occupied_->shared.Remove(Counter::kActive);
  occupied_ = endpoint;
  if (occupied_ != nullptr) occupied_->shared.Add(Counter::kActive);
}

// What this attempt says about its endpoint, once.
void UpstreamCall::Report(AttemptEnd end) {
  if (std::exchange(reported_, true)) return;
  ReportOutcome(*tried_.back(), upstream_->endpoints(), *config_, end, context_.loop.now());
}

std::string UpstreamCall::ProxyPreface() const {
  if (config_->proxy_protocol == 0) return {};
  const RequestView& request = exchange_.view();
  const bool is_peer = request.client_ip == request.peer_ip;
  SocketAddress client;  // unknown when it came by a UNIX socket
  if (!request.client_ip.is_none()) {
    // Who is known from X-Forwarded-For only has no port that means anything.
    client = SocketAddress::FromIp(request.client_ip, is_peer ? request.client_port : uint16_t{0});
  }
  const SocketAddress server = request.server == nullptr ? SocketAddress() : *request.server;
  return WriteProxyHeader(config_->proxy_protocol, client, server);
}

void UpstreamCall::OnConnected() {
  connect_time_ += MonoNow() - attempt_started_;
  SendRequest();
}

void UpstreamCall::SendRequest() {
  connected_ = true;
  UpstreamChannel* const channel = channel_;
  exchange_.OnAttempt(channel->endpoint());
  channel->SendHead(exchange_.RequestFor(channel->endpoint(), *config_), timeouts_);
  if (!replay_.empty()) {
    channel->SendBody(replay_.view());
    // replay_ may grow, and move, before this callback ends.
    context_.loop.FlushDirty();
    if (channel_ != channel) return;  // sending failed and another attempt is under way
    if (replay_.size() > kReplayLimit) {
      replayable_ = false;
      replay_.Clear();
    }
  }
  if (body_done_) channel->FinishBody(trailers_);
  if (std::exchange(client_paused_, false)) exchange_.ResumeRequestBody();
}

void UpstreamCall::SendBody(std::string_view bytes) {
  const bool keep = !connected_ || (replayable_ && !response_started_ &&
                                    replay_.size() + bytes.size() <= kReplayLimit);
  if (keep) {
    replay_.Append(bytes);
  } else if (replayable_) {
    replayable_ = false;
    replay_.Clear();
  }
  if (connected_) return channel_->SendBody(bytes);
  if (replay_.size() > Stream::kHighWatermark && !client_paused_) {
    client_paused_ = true;
    exchange_.PauseRequestBody();
  }
}

void UpstreamCall::FinishBody(const HeaderList& trailers) {
  body_done_ = true;
  if (!trailers.empty()) {
    trailers_ = trailers;
    has_trailers_ = true;
  }
  if (connected_) channel_->FinishBody(trailers);
  if (channel_ != nullptr) WatchHead();
}

void UpstreamCall::PauseResponse() {
  if (channel_ != nullptr) channel_->PauseReading();
}

void UpstreamCall::ResumeResponse() {
  if (channel_ != nullptr) channel_->ResumeReading();
}

void UpstreamCall::OnInformational(ResponseHead& head) {
  if (head.status == 101) {
    status_ = head.status;
    permit_.OnAttemptHead(head.status, head.fields, context_.loop.now());
    OnHead();
  }
  exchange_.OnInformational(head);
}

void UpstreamCall::OnResponseHead(ResponseHead& head) {
  if (timed_) {
    const MonoTime now = MonoNow();
    UpstreamState::ObserveLatency(*tried_.back(), now - attempt_started_, now);
  }
  status_ = JudgedStatus(*config_, head.status, head.fields);
  if (IsFailure(*config_, status_)) Report({.status = status_});
  permit_.OnAttemptHead(head.status, head.fields, context_.loop.now());
  if (IsRetryStatus(head.status, config_->retry) &&
      TryAgain(RetryCondition::kStatus, nullptr, false)) {
    return;
  }
  OnHead();
  exchange_.OnResponseHead(head);
}

// This response it is.
void UpstreamCall::OnHead() {
  response_started_ = true;
  StopWaiting();
  permit_.OnCallHead(context_.loop.now());
}

void UpstreamCall::OnResponseData(std::string_view bytes) { exchange_.OnResponseData(bytes); }

Stream* UpstreamCall::relay_sink() const { return exchange_.relay_sink(); }

void UpstreamCall::OnResponseRelayed(uint64_t count) { exchange_.OnResponseRelayed(count); }

void UpstreamCall::OnResponseEnd(const HeaderList& trailers) {
  // The connection goes back first: the exchange may begin the next request of a pipeline with it.
  // The trailers stay valid until then.
  Report({.status = JudgedStatus(*config_, status_, trailers)});
  connected_ = false;
  Occupy(nullptr);
  permit_.OnEnd(trailers, context_.loop.now());
  if (retries_ == 0) upstream_->admission().SaveRetry(config_->retry.budget_percent);
  std::exchange(channel_, nullptr)->Release(*config_);
  exchange_.OnResponseEnd(trailers);
}

void UpstreamCall::OnTunnelEnd() { exchange_.OnTunnelEnd(); }

void UpstreamCall::EndTunnel() {
  Report({.status = status_});
  connected_ = false;
  Occupy(nullptr);
  permit_.OnEnd(HeaderList(), context_.loop.now());
  std::exchange(channel_, nullptr)->Release(*config_);
}

void UpstreamCall::OnFailed(const Error& error) {
  const bool stale = connected_ && channel_ != nullptr && channel_->is_reused();
  channel_ = nullptr;
  OnAttemptFailed(error, stale);
}

void UpstreamCall::OnBlocked() {
  if (std::exchange(client_paused_, true)) return;
  exchange_.PauseRequestBody();
}

void UpstreamCall::OnWritable() {
  if (std::exchange(client_paused_, false)) exchange_.ResumeRequestBody();
}

void UpstreamCall::End() {
  StopWaiting();
  permit_.Return(context_.loop.now());
  DropAttempt();
}

void UpstreamCall::Reset() {
  End();
  upstream_.reset();
  config_ = nullptr;
  next_.reset();
  tried_.clear();
  replay_.Clear();
  if (std::exchange(has_trailers_, false)) trailers_.Clear();
  connect_time_ = retry_after_ = {};
  attempts_ = retries_ = retries_left_ = 0;
  connected_ = body_done_ = stale_retried_ = client_paused_ = response_started_ = false;
  replayable_ = true;
}

}  // namespace sluice
