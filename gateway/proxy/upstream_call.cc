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
  Attempt();
}

void UpstreamCall::Attempt() {
  const std::shared_ptr<Endpoint> endpoint = Pick();
  if (endpoint != nullptr) return AttemptOn(endpoint, false);
  if (tried_.empty() && upstream_->is_resolving()) {
    upstream_->AddWaiter(*this);
    deadline_.Set(context_.loop.now() + timeouts_.connect);
    return;
  }
  exchange_.OnCallFailed(UpstreamError(ErrorCode::kNoHealthyNode, Retry::kNever,
                                       config_->key + ": no node can be tried"));
}

std::shared_ptr<Endpoint> UpstreamCall::Pick() {
  PickRequest request{.tried = tried_, .key = {}, .now = context_.loop.now()};
  if (upstream_->hashes()) request.key = exchange_.HashKeyText(upstream_->key_scratch());
  return upstream_->Pick(request);
}

void UpstreamCall::OnEndpointsChanged() {
  deadline_.Cancel();
  Attempt();
}

void UpstreamCall::OnDeadline() {
  ListNode<Waiter>::Unlink();
  exchange_.OnCallFailed(UpstreamError(ErrorCode::kNoHealthyNode, Retry::kNever,
                                       config_->key + ": no node name was resolved in time"));
}

void UpstreamCall::AttemptOn(const std::shared_ptr<Endpoint>& endpoint, bool fresh) {
  ++attempts_;
  status_ = 0;
  reported_ = false;
  Occupy(endpoint.get());
  timed_ = upstream_->WantsLatency();
  if (timed_) attempt_started_ = MonoNow();
  if (tried_.empty() || tried_.back() != endpoint) tried_.push_back(endpoint);
  UpstreamWay way{.timeout = timeouts_.connect};
  if (config_->tls_scheme) {
    way.tls = exchange_.upstream_tls();
    way.tls_name = TlsName(exchange_.RequestFor(*endpoint, *config_).host);
  }
  if (config_->http2) {
    if (http2_ == nullptr) http2_ = std::make_unique<Http2Channel>(context_, *this);
    channel_ = http2_.get();
    if (http2_->Join(context_, endpoint, *config_, std::move(way))) return SendRequest();
    attempt_started_ = MonoNow();
    return;
  }
  // With a PROXY header a connection speaks for one client, so none is taken that others have used.
  const bool share = config_->proxy_protocol == 0 && !fresh;
  channel_ = share ? UpstreamConnection::TakeIdle(*endpoint, *this, way) : nullptr;
  if (channel_ != nullptr) return SendRequest();
  attempt_started_ = MonoNow();
  way.preface = ProxyPreface();
  channel_ = &UpstreamConnection::Connect(context_, upstream_, endpoint, *this, std::move(way));
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
  return WriteProxyHeader(config_->proxy_protocol, client, *request.server);
}

void UpstreamCall::OnConnected() {
  connect_time_ += MonoNow() - attempt_started_;
  SendRequest();
}

void UpstreamCall::SendRequest() {
  connected_ = true;
  UpstreamChannel* const channel = channel_;
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
  if (!trailers.empty()) trailers_ = trailers;
  if (connected_) channel_->FinishBody(trailers);
}

void UpstreamCall::PauseResponse() {
  if (channel_ != nullptr) channel_->PauseReading();
}

void UpstreamCall::ResumeResponse() {
  if (channel_ != nullptr) channel_->ResumeReading();
}

void UpstreamCall::OnInformational(ResponseHead& head) {
  if (head.status == 101) {
    response_started_ = true;
    status_ = head.status;
  }
  exchange_.OnInformational(head);
}

void UpstreamCall::OnResponseHead(ResponseHead& head) {
  response_started_ = true;
  if (timed_) {
    const MonoTime now = MonoNow();
    UpstreamState::ObserveLatency(*tried_.back(), now - attempt_started_, now);
  }
  status_ = head.status;
  if (IsFailure(*config_, status_)) Report({.status = status_});
  exchange_.OnResponseHead(head);
}

void UpstreamCall::OnResponseData(std::string_view bytes) { exchange_.OnResponseData(bytes); }

Stream* UpstreamCall::relay_sink() const { return exchange_.relay_sink(); }

void UpstreamCall::OnResponseRelayed(uint64_t count) { exchange_.OnResponseRelayed(count); }

void UpstreamCall::OnResponseEnd(const HeaderList& trailers) {
  // The connection goes back first: the exchange may begin the next request of a pipeline with it.
  // The trailers stay valid until then.
  Report({.status = status_});
  connected_ = false;
  Occupy(nullptr);
  std::exchange(channel_, nullptr)->Release(*config_);
  exchange_.OnResponseEnd(trailers);
}

void UpstreamCall::OnTunnelEnd() { exchange_.OnTunnelEnd(); }

void UpstreamCall::EndTunnel() {
  Report({.status = status_});
  connected_ = false;
  Occupy(nullptr);
  std::exchange(channel_, nullptr)->Release(*config_);
}

void UpstreamCall::OnFailed(const Error& error) {
  const bool stale = connected_ && channel_ != nullptr && channel_->is_reused();
  channel_ = nullptr;
  connected_ = false;
  Occupy(nullptr);
  const AttemptFacts facts{.method = exchange_.view().method(),
                           .body_replayable = replayable_,
                           .stale_connection = stale,
                           .stale_retried = stale_retried_,
                           .retries_left = retries_left_,
                           .elapsed = context_.loop.now() - started_,
                           .retry_timeout = config_->retry_timeout};
  const RetryDecision decision =
      response_started_ ? RetryDecision::kGiveUp : DecideRetry(error, facts);
  // That a kept connection was given up says nothing against the endpoint.
  if (!stale || error.retry == Retry::kNever) {
    Report({.error = error.code});
    const MonoTime now = MonoNow();
    if (!response_started_) {
      upstream_->ObserveFailure(*tried_.back(), now - attempt_started_, now);
    }
  }
  Log(LogLevel::kDebug, "attempt failed",
      {{"reason", ReasonName(error.code)}, {"detail", error.detail}, {"attempt", attempts_}});
  if (decision == RetryDecision::kFreshConnection) {
    stale_retried_ = true;
    const std::shared_ptr<Endpoint> endpoint = tried_.back();
    return AttemptOn(endpoint, true);
  }
  if (decision == RetryDecision::kOtherEndpoint) {
    --retries_left_;
    if (const auto endpoint = Pick()) return AttemptOn(endpoint, false);
  }
  exchange_.OnCallFailed(error);
}

void UpstreamCall::OnBlocked() {
  if (std::exchange(client_paused_, true)) return;
  exchange_.PauseRequestBody();
}

void UpstreamCall::OnWritable() {
  if (std::exchange(client_paused_, false)) exchange_.ResumeRequestBody();
}

void UpstreamCall::End() {
  ListNode<Waiter>::Unlink();
  deadline_.Cancel();
  Occupy(nullptr);
  if (channel_ != nullptr) std::exchange(channel_, nullptr)->Abort();
}

void UpstreamCall::Reset() {
  End();
  upstream_.reset();
  config_ = nullptr;
  tried_.clear();
  replay_.Clear();
  trailers_.Clear();
  connect_time_ = {};
  attempts_ = retries_left_ = 0;
  connected_ = body_done_ = stale_retried_ = client_paused_ = response_started_ = false;
  replayable_ = true;
}

}  // namespace sluice
