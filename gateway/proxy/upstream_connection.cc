#include "gateway/proxy/upstream_connection.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/upstream_call.h"

namespace sluice {
namespace {

// Below this, copying is as cheap as splicing.
constexpr uint64_t kRelayMinimum = 128 * 1024;

}  // namespace

UpstreamConnection::UpstreamConnection(ProxyContext& context,
                                       std::shared_ptr<UpstreamState> upstream,
                                       std::shared_ptr<Endpoint> endpoint)
    : context_(context),
      upstream_(std::move(upstream)),
      endpoint_(std::move(endpoint)),
      deadline_(context.loop.deadlines(), *this),
      stream_(context.loop, *this) {
  context.upstream_connections.PushBack(*this);
}

UpstreamConnection& UpstreamConnection::Connect(ProxyContext& context,
                                                const std::shared_ptr<UpstreamState>& upstream,
                                                const std::shared_ptr<Endpoint>& endpoint,
                                                UpstreamCall& call, UpstreamWay way) {
  auto* connection = new UpstreamConnection(context, upstream, endpoint);  // Reap deletes it
  connection->call_ = &call;
  connection->way_ = std::move(way);
  connection->deadline_.Set(context.loop.now() + connection->way_.timeout);
  connection->stream_.Connect(endpoint->address);
  return *connection;
}

UpstreamConnection* UpstreamConnection::TakeIdle(Endpoint& endpoint, UpstreamCall& call,
                                                 const UpstreamWay& way) {
  UpstreamConnection* connection = endpoint.idle.back();
  if (connection == nullptr) return nullptr;
  if (!connection->way_.IsSame(way)) {
    connection = nullptr;
    for (auto* other = endpoint.idle.front(); other != nullptr;
         other = endpoint.idle.Next(*other)) {
      if (other->way_.IsSame(way)) connection = other;
    }
    if (connection == nullptr) return nullptr;
  }
  connection->LeaveIdle();
  connection->call_ = &call;
  return connection;
}

void UpstreamConnection::LeaveIdle() {
  ListNode<IdleTag>::Unlink();
  --upstream_->idle_connections;
  state_ = State::kBusy;
}

void UpstreamConnection::OnConnected(Status status) {
  if (!status.has_value()) {
    const bool refused =
        status.error().detail.find(std::strerror(ECONNREFUSED)) != std::string::npos;
    FailCall(UpstreamError(refused ? ErrorCode::kConnectRefused : ErrorCode::kConnectFailed,
                           Retry::kSafe, endpoint_->name + ": " + status.error().detail));
    return;
  }
  stream_.Send(way_.preface);
  if (way_.tls == nullptr) return OnUsable();
  auto session = TlsSession::Connect(way_.tls, way_.tls_name, &endpoint_->sessions);
  if (!session.has_value()) return OnSecured(session.error());
  stream_.StartTls(std::move(*session));
}

void UpstreamConnection::OnSecured(Status status) {
  if (status.has_value()) return OnUsable();
  Error error = std::move(status).error();
  error.detail.insert(0, endpoint_->name + ": ");
  FailCall(error);
}

void UpstreamConnection::OnUsable() {
  state_ = State::kBusy;
  deadline_.Cancel();
  if (call_ != nullptr) call_->OnConnected();
}

void UpstreamConnection::SendHead(const UpstreamRequest& request,
                                  const conf::UpstreamTimeouts& timeouts) {
  const RequestHead& head = *request.view.head;
  ++calls_;
  method_ = request.method();
  timeouts_ = timeouts;
  chunked_request_ = head.body.kind == BodyFraming::Kind::kChunked;
  request_sent_ = response_done_ = keep_alive_ = false;
  sent_before_ = stream_.bytes_sent();
  received_before_ = stream_.bytes_received();
  if (decoder_ != nullptr) decoder_->StartMessage(method_);
  stream_.Send(WriteUpstreamHead(request, context_.loop.scratch()));
  UpdateDeadline();
}

void UpstreamConnection::PauseReading() {
  stream_.PauseReading();
  UpdateDeadline();
}

void UpstreamConnection::ResumeReading() {
  stream_.ResumeReading();
  UpdateDeadline();
}

void UpstreamConnection::SendBody(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!chunked_request_) return stream_.Send(bytes);
  stream_.Send(WriteChunkHead(bytes.size(), context_.loop.scratch()));
  stream_.Send(bytes);
  stream_.Send("\r\n");
}

void UpstreamConnection::FinishBody(const HeaderList& trailers) {
  if (in_tunnel_) return stream_.ShutdownWrite();
  if (chunked_request_) {
    stream_.Send("0\r\n");
    stream_.Send(WriteTrailers(trailers, context_.loop.scratch()));
    stream_.Send("\r\n");
  }
  request_sent_ = true;
  UpdateDeadline();
}

void UpstreamConnection::OnRead(std::string_view bytes) {
  if (state_ == State::kIdle) return Close();  // nobody asked: never an answer to the next call
  if (state_ != State::kBusy || call_ == nullptr) return;
  if (decoder_ == nullptr) {
    decoder_ = context_.TakeDecoder(Http1Decoder::Role::kClient);
    decoder_->StartMessage(method_);
  }
  ReadResponse(bytes);
}

void UpstreamConnection::ReadResponse(std::string_view bytes) {
  while (state_ == State::kBusy && call_ != nullptr && !response_done_) {
    if (in_tunnel_) {
      if (!bytes.empty()) call_->OnResponseData(bytes);
      break;
    }
    const CodecEvent event = decoder_->Next(bytes);
    if (!HandleEvent(event, bytes)) break;
  }
  if (response_done_) context_.GiveDecoder(std::move(decoder_));
  if (state_ != State::kBusy || call_ == nullptr) return;
  UpdateDeadline();
  TryRelay();
}

// The rest of a large body of known length moves from socket to socket inside the kernel.
void UpstreamConnection::TryRelay() {
  if (response_done_ || in_tunnel_) return;
  const uint64_t left = decoder_->body_left();
  if (left < kRelayMinimum) return;
  if (Stream* sink = call_->relay_sink()) stream_.RelayTo(*sink, left);
}

void UpstreamConnection::OnRelayed(uint64_t count) {
  if (state_ != State::kBusy || call_ == nullptr) return;
  decoder_->SkipBody(count);
  call_->OnResponseRelayed(count);
  if (decoder_->body_left() == 0) return ReadResponse({});
  UpdateDeadline();
}

bool UpstreamConnection::HandleEvent(CodecEvent event, std::string_view rest) {
  switch (event) {
    case CodecEvent::kNeedMore:
      return false;
    case CodecEvent::kHead:
      if (decoder_->response().status < 200) {
        call_->OnInformational(decoder_->response());
      } else {
        keep_alive_ = decoder_->response().keep_alive;
        call_->OnResponseHead(decoder_->response());
      }
      return true;
    case CodecEvent::kData:
      call_->OnResponseData(decoder_->data());
      return true;
    case CodecEvent::kEnd:
      if (decoder_->response().status < 200) {
        decoder_->StartMessage(method_);  // the final response is still to come
        return true;
      }
      response_done_ = true;
      // Bytes behind the response belong to no request: the connection is not to be trusted.
      if (!rest.empty()) keep_alive_ = false;
      call_->OnResponseEnd(decoder_->trailers());
      return false;
    case CodecEvent::kError:
      FailCall(decoder_->error());
      return false;
  }
  return false;
}

void UpstreamConnection::OnEof() {
  if (state_ != State::kBusy || call_ == nullptr) return Close();
  if (in_tunnel_) return call_->OnTunnelEnd();
  const bool head_came = HeadCame();
  const CodecEvent event = decoder_ == nullptr ? CodecEvent::kNeedMore : decoder_->OnEof();
  if (event == CodecEvent::kEnd && stream_.is_truncated()) {
    FailCall(UpstreamError(ErrorCode::kResponseTruncated, Retry::kNever,
                           endpoint_->name + ": the TLS connection was cut off"));
  } else if (event == CodecEvent::kEnd) {
    keep_alive_ = false;
    HandleEvent(event, {});
  } else if (head_came) {
    FailCall(decoder_->error());
  } else {
    FailCall(ConnectionLost(ErrorCode::kUpstreamClosed, "closed before the response"));
  }
}

void UpstreamConnection::OnStreamError(int error_number) {
  if (call_ == nullptr || state_ == State::kIdle) return Close();
  const bool broken = error_number == EPROTO && stream_.tls() != nullptr;
  const std::string why = broken ? stream_.tls()->error().detail : std::strerror(error_number);
  if (state_ == State::kConnecting) {
    return FailCall(UpstreamError(ErrorCode::kUpstreamTlsFailed, Retry::kSafe,
                                  endpoint_->name + ": TLS handshake: " + why));
  }
  if (HeadCame() && !in_tunnel_) {
    return FailCall(
        UpstreamError(ErrorCode::kResponseTruncated, Retry::kNever, endpoint_->name + ": " + why));
  }
  FailCall(ConnectionLost(ErrorCode::kUpstreamReset, why));
}

bool UpstreamConnection::HeadCame() const {
  return decoder_ != nullptr && !decoder_->between_messages() && !decoder_->in_head();
}

// Lost before a response, of which nothing was relayed: what may be repeated depends on whether the
// upstream can have seen the request.
Error UpstreamConnection::ConnectionLost(ErrorCode code, std::string_view detail) const {
  const bool unseen = stream_.bytes_sent() == sent_before_;
  return UpstreamError(code, unseen ? Retry::kSafe : Retry::kIdempotent,
                       endpoint_->name + ": " + std::string(detail));
}

void UpstreamConnection::FailCall(const Error& error) {
  UpstreamCall* call = std::exchange(call_, nullptr);
  Close();
  if (call != nullptr) call->OnFailed(error);
}

void UpstreamConnection::OnBlocked() {
  blocked_ = true;
  unsent_at_deadline_ = stream_.unsent();
  UpdateDeadline();
  if (call_ != nullptr) call_->OnBlocked();
}

void UpstreamConnection::OnWritable() {
  blocked_ = false;
  UpdateDeadline();
  if (call_ != nullptr) call_->OnWritable();
}

void UpstreamConnection::UpdateDeadline() {
  if (state_ != State::kBusy || call_ == nullptr) return;
  if (blocked_) {
    deadline_.Set(context_.loop.now() + timeouts_.send);
  } else if (request_sent_ && stream_.is_reading() && !in_tunnel_) {
    deadline_.Set(context_.loop.now() + timeouts_.read);
  } else {
    deadline_.Cancel();  // it is the client's turn
  }
}

void UpstreamConnection::OnDeadline() {
  if (state_ == State::kIdle || state_ == State::kClosing) return Close();
  if (state_ == State::kConnecting) {
    return FailCall(UpstreamError(ErrorCode::kConnectTimeout, Retry::kSafe,
                                  endpoint_->name + ": no connection in time"));
  }
  if (blocked_) {
    const size_t unsent = stream_.unsent();
    if (unsent < std::exchange(unsent_at_deadline_, unsent)) return UpdateDeadline();
    return FailCall(UpstreamError(ErrorCode::kUpstreamSendTimeout, Retry::kNever,
                                  endpoint_->name + ": the request is not read"));
  }
  FailCall(
      UpstreamError(HeadCame() ? ErrorCode::kResponseTruncated : ErrorCode::kUpstreamReadTimeout,
                    Retry::kNever, endpoint_->name + ": nothing came in time"));
}

void UpstreamConnection::Release(const conf::UpstreamConfig& config) {
  call_ = nullptr;
  if (in_tunnel_) return CloseAfterFlush();
  const bool keep = state_ == State::kBusy && request_sent_ && response_done_ && keep_alive_ &&
                    !blocked_ && stream_.is_open() && !endpoint_->retired && way_.preface.empty() &&
                    calls_ < config.keepalive_requests &&
                    upstream_->idle_connections <
                        std::min(config.keepalive_size, upstream_->admission().most_idle());
  if (!keep) return Close();
  state_ = State::kIdle;
  ++upstream_->idle_connections;
  endpoint_->idle.PushBack(*this);
  stream_.ResumeReading();
  deadline_.Set(context_.loop.now() + config.keepalive_idle);
  upstream_->admission().OnFreed();
}

void UpstreamConnection::Abort() {
  call_ = nullptr;
  Close();
}

// What the client said last still has to arrive.
void UpstreamConnection::CloseAfterFlush() {
  state_ = State::kClosing;
  deadline_.Set(context_.loop.now() + timeouts_.send);
  stream_.CloseAfterFlush();
}

void UpstreamConnection::Close() {
  if (state_ == State::kIdle) LeaveIdle();
  state_ = State::kClosing;
  deadline_.Cancel();
  if (request_sent_ && response_done_) stream_.SendTlsEnd();
  stream_.Close();
  FreePlace();
}

void UpstreamConnection::FreePlace() {
  if (!std::exchange(way_.counted, false)) return;
  upstream_->admission().Free(EndpointTable::Counter::kConnections);
}

void UpstreamConnection::OnClosed() {
  FreePlace();  // also when it was closed by itself, behind a tunnel
  context_.Reap(*this);
}

}  // namespace sluice
