#include "gateway/proxy/http2_upstream.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/net/tls_session.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/upstream_call.h"

namespace sluice {
namespace {

// Output of one turn is pulled in steps of this size, so that the peer's speed limits it.
constexpr size_t kPullSize = 64 * 1024;
// Lent body bytes above this are sent when the callback ends, instead of being copied.
constexpr size_t kKeepLimit = 16 * 1024;
// With requests under way and nothing received for so long, the peer is asked whether it lives.
constexpr Duration kPingInterval = seconds(20);
constexpr Duration kPongTimeout = seconds(10);

}  // namespace

Http2Channel::Http2Channel(ProxyContext& context, UpstreamCall& call)
    : call_(call), deadline_(context.loop.deadlines(), *this) {}

bool Http2Channel::Join(ProxyContext& context, const std::shared_ptr<Endpoint>& endpoint,
                        const conf::UpstreamConfig& config, UpstreamWay way) {
  endpoint_ = endpoint;
  paused_ = blocked_ = request_sent_ = response_begun_ = response_done_ = false;
  unconsumed_ = 0;
  connection_ = Http2Upstream::FindOpen(*endpoint, way);
  reused_ = connection_ != nullptr;
  if (reused_) return true;
  connection_ = Http2Upstream::FindConnecting(*endpoint, way);
  if (connection_ == nullptr) {
    connection_ = &Http2Upstream::Connect(
        context, endpoint, {std::move(way), config.keepalive_idle, config.keepalive_requests});
  }
  connection_->waiting_.PushBack(*this);
  return false;
}

void Http2Channel::SendHead(const UpstreamRequest& request,
                            const conf::UpstreamTimeouts& timeouts) {
  timeouts_ = timeouts;
  const bool ended = !request.view.head->body.has_body();
  request_sent_ = ended;
  connection_->Submit(*this, request, ended);
  UpdateDeadline();
}

void Http2Channel::SendBody(std::string_view bytes) {
  if (stream_ == nullptr || bytes.empty()) return;
  connection_->codec_.SubmitData(*stream_, bytes);
  connection_->lent_ += bytes.size();
  connection_->context_.loop.AddOutput(*connection_);
}

void Http2Channel::FinishBody(const HeaderList& trailers) {
  if (stream_ == nullptr || std::exchange(request_sent_, true)) return;
  std::vector<Http2Field>& fields = connection_->fields_;
  fields.clear();
  for (const HeaderField& field : trailers) {
    if (IsForwardableTrailer(field.id, field.name)) fields.push_back({field.name, field.value});
  }
  connection_->codec_.SubmitEnd(*stream_, fields);
  connection_->context_.loop.AddOutput(*connection_);
  UpdateDeadline();
}

void Http2Channel::PauseReading() {
  paused_ = true;
  UpdateDeadline();
}

// The peer's window opens only by what the client has taken.
void Http2Channel::ResumeReading() {
  paused_ = false;
  const size_t count = std::exchange(unconsumed_, 0);
  if (stream_ != nullptr && count > 0) {
    connection_->codec_.Consume(*stream_, count);
    connection_->context_.loop.AddOutput(*connection_);
  }
  UpdateDeadline();
}

void Http2Channel::Release(const conf::UpstreamConfig&) { Leave(); }

void Http2Channel::Abort() { Leave(); }

// A stream that is not over is of no more use to anybody.
void Http2Channel::Leave() {
  deadline_.Cancel();
  Http2Upstream* const connection = std::exchange(connection_, nullptr);
  Http2Stream* const stream = std::exchange(stream_, nullptr);
  ListNode<Http2Channel>::Unlink();
  if (connection == nullptr) return;
  if (stream != nullptr) {
    stream->set_owner(nullptr);
    if (!response_done_ || !request_sent_) {
      connection->codec_.Reset(*stream, Http2ErrorCode::kCancel);
    }
    connection->context_.loop.AddOutput(*connection);
  }
  if (connection->channels_.empty()) connection->UpdateDeadline();
}

void Http2Channel::Fail(const Error& error) {
  Leave();
  call_.OnFailed(error);
}

void Http2Channel::OnEvent(const Http2Event& event) {
  switch (event.kind) {
    case Http2Event::Kind::kInformational:
      return call_.OnInformational(*event.informational);
    case Http2Event::Kind::kHead:
      response_begun_ = true;
      call_.OnResponseHead(stream_->response());
      return UpdateDeadline();
    case Http2Event::Kind::kData: {
      const size_t size = event.data.size();
      Http2Codec& codec = connection_->codec_;
      Http2Stream& stream = *stream_;
      call_.OnResponseData(event.data);
      if (stream_ != &stream) return;  // ended; the codec gives the window back
      if (paused_) {
        unconsumed_ += size;
      } else {
        codec.Consume(stream, size);
      }
      return UpdateDeadline();
    }
    case Http2Event::Kind::kEnd:
      response_done_ = true;
      return call_.OnResponseEnd(stream_->trailers());
    case Http2Event::Kind::kBlocked:
      blocked_ = true;
      unsent_at_deadline_ = stream_->unsent();
      UpdateDeadline();
      return call_.OnBlocked();
    case Http2Event::Kind::kWritable:
      blocked_ = false;
      UpdateDeadline();
      return call_.OnWritable();
    case Http2Event::Kind::kRefused:
    case Http2Event::Kind::kMalformed:
    case Http2Event::Kind::kClosed:
      return OnReset(event.code);
    case Http2Event::Kind::kGoaway:
    case Http2Event::Kind::kPong:
      return;
  }
}

void Http2Channel::OnReset(Http2ErrorCode code) {
  const std::string where = endpoint_->name + ": ";
  if (!stream_->error().detail.empty()) {  // it was we who refused the response
    Error error = stream_->error();
    error.detail = where + error.detail;
    return Fail(error);
  }
  const std::string detail =
      where + "reset the stream, code " + std::to_string(static_cast<uint32_t>(code));
  if (response_begun_) {
    return Fail(UpstreamError(ErrorCode::kResponseTruncated, Retry::kNever, detail));
  }
  // RFC 9113 8.7: a refused stream was not processed. There were too many at once, which says
  // nothing against the endpoint; any other reset does, as the connection lives.
  const bool refused = code == Http2ErrorCode::kRefusedStream;
  reused_ = refused;
  Fail(UpstreamError(ErrorCode::kUpstreamReset, refused ? Retry::kSafe : Retry::kIdempotent,
                     detail));
}

void Http2Channel::OnConnectionLost(ErrorCode code, std::string_view detail) {
  std::string text = endpoint_->name + ": ";
  text += detail;
  if (response_begun_) {
    return Fail(UpstreamError(ErrorCode::kResponseTruncated, Retry::kNever, std::move(text)));
  }
  const bool unsent = stream_ == nullptr;
  Fail(UpstreamError(code, unsent ? Retry::kSafe : Retry::kIdempotent, std::move(text)));
}

void Http2Channel::UpdateDeadline() {
  if (stream_ == nullptr) return;
  const MonoTime now = connection_->context_.loop.now();
  if (blocked_) {
    deadline_.Set(now + timeouts_.send);
  } else if (request_sent_ && !paused_) {
    deadline_.Set(now + timeouts_.read);
  } else {
    deadline_.Cancel();  // it is the client's turn
  }
}

void Http2Channel::OnDeadline() {
  if (blocked_) {
    const size_t unsent = stream_->unsent();
    if (unsent < std::exchange(unsent_at_deadline_, unsent)) return UpdateDeadline();
    return Fail(UpstreamError(ErrorCode::kUpstreamSendTimeout, Retry::kNever,
                              endpoint_->name + ": the request is not read"));
  }
  Fail(UpstreamError(
      response_begun_ ? ErrorCode::kResponseTruncated : ErrorCode::kUpstreamReadTimeout,
      Retry::kNever, endpoint_->name + ": nothing came in time"));
}

Http2Upstream::Http2Upstream(ProxyContext& context, std::shared_ptr<Endpoint> endpoint,
                             Settings settings)
    : context_(context),
      endpoint_(std::move(endpoint)),
      stream_(context.loop, *this),
      codec_(Http2Codec::Role::kClient, context.upstream_limits, context.http2_limits,
             context.http2_streams),
      deadline_(context.loop.deadlines(), *this),
      settings_(std::move(settings)) {
  context.upstream_connections.PushBack(*this);
  endpoint_->http2.PushBack(*this);
}

Http2Upstream& Http2Upstream::Connect(ProxyContext& context,
                                      const std::shared_ptr<Endpoint>& endpoint,
                                      Settings settings) {
  const Duration timeout = settings.way.timeout;
  auto* connection = new Http2Upstream(context, endpoint, std::move(settings));  // Reap deletes it
  connection->deadline_.Set(context.loop.now() + timeout);
  connection->stream_.Connect(endpoint->address);
  return *connection;
}

Http2Upstream* Http2Upstream::FindOpen(Endpoint& endpoint, const UpstreamWay& way) {
  Http2Upstream* connection = endpoint.http2.front();
  while (connection != nullptr &&
         (connection->state_ != State::kOpen || !connection->codec_.can_open_stream() ||
          !connection->settings_.way.IsSame(way))) {
    connection = endpoint.http2.Next(*connection);
  }
  return connection;
}

Http2Upstream* Http2Upstream::FindConnecting(Endpoint& endpoint, const UpstreamWay& way) {
  Http2Upstream* connection = endpoint.http2.front();
  while (connection != nullptr &&
         (connection->state_ != State::kConnecting || !connection->settings_.way.IsSame(way))) {
    connection = endpoint.http2.Next(*connection);
  }
  return connection;
}

void Http2Upstream::OnConnected(Status status) {
  if (!status.has_value()) {
    const std::string_view detail = status.error().detail;
    const bool refused = detail.find(std::strerror(ECONNREFUSED)) != std::string_view::npos;
    return FailAll(refused ? ErrorCode::kConnectRefused : ErrorCode::kConnectFailed, detail);
  }
  const UpstreamWay& way = settings_.way;
  if (way.tls == nullptr) return OnUsable();
  auto session = TlsSession::Connect(way.tls, way.tls_name, &endpoint_->sessions);
  if (!session.has_value()) return OnSecured(session.error());
  stream_.StartTls(std::move(*session));
}

void Http2Upstream::OnSecured(Status status) {
  if (!status.has_value()) return FailAll(ErrorCode::kUpstreamTlsFailed, status.error().detail);
  if (stream_.tls()->alpn() == "h2") return OnUsable();
  FailAll(ErrorCode::kUpstreamTlsFailed, "expected HTTP/2 to be agreed on by ALPN");
}

void Http2Upstream::OnUsable() {
  state_ = State::kOpen;
  context_.loop.AddOutput(*this);  // the preface
  IntrusiveList<Http2Channel> waiting;
  while (Http2Channel* channel = waiting_.PopFront()) waiting.PushBack(*channel);
  while (waiting.front() != nullptr && state_ == State::kOpen && codec_.can_open_stream()) {
    waiting.PopFront()->call_.OnConnected();
  }
  while (Http2Channel* channel = waiting.PopFront()) PassOn(*channel);
  UpdateDeadline();
}

// The peer takes no more streams on this connection.
void Http2Upstream::PassOn(Http2Channel& channel) {
  if (requests_ == 0) return channel.OnConnectionLost(ErrorCode::kConnectFailed, "takes no stream");
  Http2Upstream* next = FindConnecting(*endpoint_, settings_.way);
  if (next == nullptr) next = &Connect(context_, endpoint_, settings_);
  channel.connection_ = next;
  next->waiting_.PushBack(channel);
}

void Http2Upstream::Submit(Http2Channel& channel, const UpstreamRequest& request, bool ended) {
  const RequestHead& head = *request.view.head;
  Arena& arena = context_.loop.scratch();
  std::string_view path = request.view.path;
  if (!request.rewritten_target.empty()) {
    path = request.rewritten_target;
  } else if (head.has_query) {
    char* const joined = arena.Allocate(path.size() + 1 + head.query.size());
    std::memcpy(joined, path.data(), path.size());
    joined[path.size()] = '?';
    head.query.copy(joined + path.size() + 1, head.query.size());
    path = {joined, path.size() + 1 + head.query.size()};
  }
  fields_.clear();
  fields_.push_back({":method", request.method_text()});
  fields_.push_back({":scheme", settings_.way.tls == nullptr ? "http" : "https"});
  fields_.push_back({":authority", request.host});
  fields_.push_back({":path", path});
  ForEachUpstreamField(request, arena, [this](std::string_view name, std::string_view value) {
    fields_.push_back({name, value});
  });
  // RFC 9113 8.2.2: of TE only this is left, and gRPC asks for it.
  if (ListContains(head.fields.Value(HeaderId::kTe), "trailers")) {
    fields_.push_back({"te", "trailers"});
  }
  if (head.body.kind == BodyFraming::Kind::kLength) {
    const std::string length = std::to_string(head.body.length);
    fields_.push_back({"content-length", arena.Copy(length)});
  }
  Http2Stream* const stream = codec_.SubmitRequest(request.method(), fields_, ended);
  SLUICE_CHECK(stream != nullptr);  // the owner has asked can_open_stream
  stream->set_owner(&channel);
  channel.stream_ = stream;
  const bool was_idle = channels_.empty();
  channels_.PushBack(channel);
  if (was_idle) UpdateDeadline();  // otherwise the next ping stays due
  context_.loop.AddOutput(*this);
  if (++requests_ >= settings_.most_requests) Retire();
}

void Http2Upstream::OnRead(std::string_view bytes) {
  pinged_ = false;
  while (!bytes.empty() && state_ != State::kClosing) {
    codec_.Receive(bytes, context_.loop.now());
    TakeEvents();
  }
  if (state_ == State::kClosing) return;
  context_.loop.AddOutput(*this);
  UpdateDeadline();
}

void Http2Upstream::TakeEvents() {
  while (const Http2Event* next = codec_.NextEvent()) {
    const Http2Event event = *next;
    if (event.kind == Http2Event::Kind::kGoaway) Retire();
    if (event.stream == nullptr) continue;
    // Without an owner: a call that ended before its stream did.
    if (auto* channel = static_cast<Http2Channel*>(event.stream->owner())) channel->OnEvent(event);
    if (state_ == State::kClosing) return;
  }
}

void Http2Upstream::OnCallbackEnd() {
  if (lent_ > kKeepLimit) SendOutput();
  KeepOutput();
}

void Http2Upstream::OnTurnEnd() {
  SendOutput();
  KeepOutput();
}

void Http2Upstream::KeepOutput() {
  codec_.KeepLent();
  lent_ = 0;
  if (state_ != State::kClosing) TakeEvents();  // what had to be kept may be too much
}

void Http2Upstream::SendOutput() {
  if (state_ == State::kConnecting) return;
  while (state_ != State::kClosing && !blocked_ && codec_.has_output()) {
    for (const std::string_view piece : codec_.Pull(context_.loop.scratch(), kPullSize)) {
      stream_.Send(piece);
    }
    TakeEvents();  // what was sent may unblock a body, or end a stream
  }
  CloseIfDone();
}

void Http2Upstream::CloseIfDone() {
  if (state_ == State::kClosing) return;
  if (codec_.finished()) return FailAll(ErrorCode::kInvalidResponse, "broke the protocol");
  if (state_ == State::kRetired && channels_.empty() && codec_.open_streams() == 0) Close();
}

void Http2Upstream::OnWritable() {
  blocked_ = false;
  context_.loop.AddOutput(*this);
}

void Http2Upstream::OnEof() { FailAll(ErrorCode::kUpstreamClosed, "closed the connection"); }

void Http2Upstream::OnStreamError(int error_number) {
  FailAll(ErrorCode::kUpstreamReset, std::strerror(error_number));
}

// A new attempt of a call must not find this connection again.
void Http2Upstream::FailAll(ErrorCode code, std::string_view detail) {
  const std::string text(detail);
  IntrusiveList<Http2Channel> channels;
  while (Http2Channel* channel = waiting_.PopFront()) channels.PushBack(*channel);
  while (Http2Channel* channel = channels_.PopFront()) channels.PushBack(*channel);
  Close();
  while (Http2Channel* channel = channels.PopFront()) channel->OnConnectionLost(code, text);
}

void Http2Upstream::Abort() { FailAll(ErrorCode::kDraining, "the connection is closed"); }

void Http2Upstream::Retire() {
  ListNode<EndpointTag>::Unlink();
  if (state_ == State::kConnecting) return FailAll(ErrorCode::kConnectFailed, "no longer wanted");
  if (state_ != State::kOpen) return;
  state_ = State::kRetired;
  context_.loop.AddOutput(*this);  // closes it if nothing is under way
}

void Http2Upstream::UpdateDeadline() {
  if (state_ == State::kConnecting || state_ == State::kClosing) return;
  if (pinged_) return;
  deadline_.Set(context_.loop.now() + (channels_.empty() ? settings_.idle_timeout : kPingInterval));
}

void Http2Upstream::OnDeadline() {
  if (state_ == State::kConnecting) {
    return FailAll(ErrorCode::kConnectTimeout, "no connection in time");
  }
  if (pinged_) return FailAll(ErrorCode::kUpstreamReadTimeout, "does not answer a ping");
  if (channels_.empty()) return Close();
  codec_.Ping();
  pinged_ = true;
  deadline_.Set(context_.loop.now() + kPongTimeout);
  context_.loop.AddOutput(*this);
}

void Http2Upstream::Close() {
  if (state_ == State::kClosing) return;
  state_ = State::kClosing;
  ListNode<EndpointTag>::Unlink();
  OutputSource::Unlink();
  deadline_.Cancel();
  stream_.SendTlsEnd();  // of a cut request the frames tell
  stream_.Close();
}

void Http2Upstream::OnClosed() { context_.Reap(*this); }

}  // namespace sluice
