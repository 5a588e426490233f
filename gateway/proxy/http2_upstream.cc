#include "gateway/proxy/http2_upstream.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "gateway/base/text.h"
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

Http2Upstream::Http2Upstream(ProxyContext& context, std::shared_ptr<Endpoint> endpoint,
                             Settings settings)
    : context_(context),
      endpoint_(std::move(endpoint)),
      stream_(context.loop, *this),
      codec_(Http2Codec::Role::kClient, context.upstream_limits, context.http2_limits,
             context.http2_streams),
      deadline_(context.loop.deadlines(), *this),
      settings_(std::move(settings)),
      has_place_(settings_.counted_by != nullptr) {
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

template <typename Suits>
Http2Upstream* Http2Upstream::Find(Endpoint& endpoint, const UpstreamWay& way, Suits suits) {
  Http2Upstream* connection = endpoint.http2.front();
  while (connection != nullptr && !(suits(*connection) && connection->settings_.way.IsSame(way))) {
    connection = endpoint.http2.Next(*connection);
  }
  return connection;
}

Http2Upstream* Http2Upstream::FindOpen(Endpoint& endpoint, const UpstreamWay& way) {
  return Find(endpoint, way, [](const Http2Upstream& connection) {
    return connection.state_ == State::kOpen && connection.waiting_.empty() &&
           connection.CanOpenStream();
  });
}

Http2Upstream* Http2Upstream::FindConnecting(Endpoint& endpoint, const UpstreamWay& way) {
  return Find(endpoint, way, [](const Http2Upstream& connection) {
    return connection.state_ == State::kConnecting ||
           (connection.state_ == State::kOpen && !connection.settled_);
  });
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
  ServeWaiting();
  if (state_ != State::kOpen) PassOnWaiting();  // one request was all that it may carry
}

// The peer has said how many streams it takes.
void Http2Upstream::OnSettled() {
  settled_ = true;
  ServeWaiting();
  PassOnWaiting();
}

// What is sent before the peer has said how much it takes may be refused: no more than a stream.
bool Http2Upstream::CanOpenStream() const {
  return (settled_ || codec_.open_streams() == 0) && codec_.can_open_stream();
}

void Http2Upstream::ServeWaiting() {
  while (!waiting_.empty() && state_ == State::kOpen && CanOpenStream()) {
    waiting_.PopFront()->call_.OnConnected();
  }
}

void Http2Upstream::PassOnWaiting() {
  IntrusiveList<Http2Channel> waiting;
  while (Http2Channel* channel = waiting_.PopFront()) waiting.PushBack(*channel);
  while (Http2Channel* channel = waiting.PopFront()) PassOn(*channel);
}

// This connection takes no more streams, or none for now.
void Http2Upstream::PassOn(Http2Channel& channel) {
  if (requests_ == 0) return channel.OnConnectionLost(ErrorCode::kConnectFailed, "takes no stream");
  Http2Upstream* next = FindConnecting(*endpoint_, settings_.way);
  if (next == nullptr) next = ConnectAnother();
  if (next == nullptr && state_ == State::kClosing) {
    return channel.OnConnectionLost(ErrorCode::kConnectFailed, "no further connection is allowed");
  }
  if (next == nullptr) {  // until a stream ends, or it closes
    next = this;
    channel.deadline_.Set(context_.loop.now() + settings_.way.timeout);
  }
  channel.connection_ = next;
  next->waiting_.PushBack(channel);
}

// Null: the limit of connections is reached.
Http2Upstream* Http2Upstream::ConnectAnother() {
  using Counter = Admission::Counter;
  const auto& upstream = settings_.counted_by;
  const bool limited = upstream != nullptr && upstream->admission().limits().connections > 0;
  if (limited && !upstream->admission().TryTake(Counter::kConnections, true)) return nullptr;
  Settings settings = settings_;
  if (!limited) settings.counted_by = nullptr;
  return &Connect(context_, endpoint_, std::move(settings));
}

// Where connections are limited each worker keeps its share of them idle; others go at once.
void Http2Upstream::OnUseChanged() {
  UpstreamState* const upstream = settings_.counted_by.get();
  if (upstream == nullptr) return;
  const bool idle = state_ == State::kOpen && is_idle();
  if (idle != counts_idle_) {
    counts_idle_ = idle;
    upstream->idle_connections += idle ? 1 : -1;
    if (idle && upstream->idle_connections > upstream->admission().most_idle()) return Close();
  }
  if (state_ == State::kClosing && std::exchange(has_place_, false)) {
    upstream->admission().Free(Admission::Counter::kConnections);
  } else {
    upstream->admission().OnFreed();  // perhaps a stream, or a connection that may be given up
  }
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
    fields_.push_back({"content-length", NumberText(head.body.length, arena)});
  }
  Http2Stream* const stream = codec_.SubmitRequest(request.method(), fields_, ended);
  SLUICE_CHECK(stream != nullptr);  // the owner has asked CanOpenStream
  stream->set_owner(&channel);
  channel.stream_ = stream;
  const bool was_idle = channels_.empty();
  channels_.PushBack(channel);
  if (was_idle) UpdateDeadline();  // otherwise the next ping stays due
  context_.loop.AddOutput(*this);
  if (++requests_ >= settings_.most_requests) Retire();
  OnUseChanged();
}

void Http2Upstream::OnRead(std::string_view bytes) {
  pinged_ = false;
  while (!bytes.empty() && state_ != State::kClosing) {
    codec_.Receive(bytes, context_.loop.now());
    TakeEvents();
  }
  if (state_ == State::kClosing) return;
  if (!settled_ && codec_.established()) OnSettled();
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
  ServeWaiting();
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
  if (state_ != State::kRetired || !channels_.empty() || codec_.open_streams() > 0) return;
  Close();
  PassOnWaiting();
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
  OnUseChanged();
}

void Http2Upstream::UpdateDeadline() {
  if (!settled_ || state_ == State::kClosing || pinged_) return;
  deadline_.Set(context_.loop.now() + (channels_.empty() ? settings_.idle_timeout : kPingInterval));
}

void Http2Upstream::OnDeadline() {
  if (state_ == State::kConnecting) {
    return FailAll(ErrorCode::kConnectTimeout, "no connection in time");
  }
  if (!settled_) return FailAll(ErrorCode::kConnectTimeout, "sends no SETTINGS");
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
  OnUseChanged();
}

void Http2Upstream::OnClosed() { context_.Reap(*this); }

}  // namespace sluice
