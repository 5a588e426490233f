#include "gateway/proxy/http2_server.h"

#include <algorithm>
#include <string>
#include <utility>

#include "gateway/base/log.h"
#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/grpc.h"

namespace sluice {
namespace {

// Output of one turn is pulled in steps of this size, so that the client's speed limits it.
constexpr size_t kPullSize = 64 * 1024;
// Lent body bytes above this are sent when the callback ends, instead of being copied.
constexpr size_t kHoldLimit = 16 * 1024;
// Streams of a connection that are kept for its next requests.
constexpr size_t kMostFreeStreams = 16;
// A stalled stream is found within its timeout and a quarter of the shortest one.
constexpr int kTicksPerTimeout = 4;
constexpr Duration kShortestTick = milliseconds(50);
// How long a client may take to notice that we have closed.
constexpr Duration kLingerTime = seconds(2);

}  // namespace

Http2ServerStream::Http2ServerStream(Http2Server& server)
    : ExchangeClient(&server.connection_), server_(server) {}

Http2ServerStream::~Http2ServerStream() = default;

void Http2ServerStream::Begin(Http2Stream& stream, uint64_t number) {
  stream_ = &stream;
  stream.set_owner(this);
  request_number_ = number;
  request_bytes_in_ = stream.bytes_received();
  response_bytes_out_ = 0;
  paused_ = response_ended_ = in_tunnel_ = false;
  unconsumed_ = 0;
  moved_ = 0;
  moved_at_ = server_.context_.loop.now();
  pace_.Start(moved_at_, request_bytes_in_);
  if (IsGrpc(stream.request())) pace_.Excuse();  // its streams may be slow for their whole life
  exchange_ = server_.context_.TakeExchange();
}

void Http2ServerStream::OnEvent(const Http2Event& event) {
  if (event.kind == Http2Event::Kind::kClosed) return OnClosed(event.code);
  request_bytes_in_ = stream_->bytes_received();
  const size_t size = event.data.size();
  if (HoldEarly(event)) return;
  if (exchange_ == nullptr) return server_.codec_.Consume(*stream_, size);
  switch (event.kind) {
    case Http2Event::Kind::kData:
      exchange_->OnRequestData(event.data);
      if (paused_) {
        unconsumed_ += size;
      } else {
        server_.codec_.Consume(*stream_, size);
      }
      return;
    case Http2Event::Kind::kEnd:
      return exchange_->OnRequestEnd(stream_->trailers());
    case Http2Event::Kind::kBlocked:
      return exchange_->PauseResponse();
    case Http2Event::Kind::kWritable:
      return exchange_->ResumeResponse();
    default:
      return;
  }
}

// What a WebSocket client sends before its tunnel is open waits; its window bounds it.
bool Http2ServerStream::HoldEarly(const Http2Event& event) {
  if (!stream_->request().websocket || in_tunnel_ || exchange_ == nullptr) return false;
  if (event.kind == Http2Event::Kind::kData) {
    early_.Append(event.data);
    return true;
  }
  return event.kind == Http2Event::Kind::kEnd;
}

void Http2ServerStream::OnClosed(Http2ErrorCode code) {
  // The rules that the codec enforces on a body: its length, its trailers.
  const bool malformed = code == Http2ErrorCode::kProtocolError;
  if (exchange_ != nullptr) {
    exchange_->OnClientGone(malformed ? ErrorCode::kBadFraming : ErrorCode::kClientClosed);
  }
  server_.EndStream(*this);
}

// RFC 8441 5: HTTP/1 wants a key, whose answer ends here.
void Http2ServerStream::AddWebSocketKey(RequestHead& head) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr size_t kDigitsOf16Bytes = 22;
  const RequestId nonce = server_.context_.NextRequestId();
  key_.fill('=');
  uint64_t bits = nonce.high;
  for (size_t i = 0; i < kDigitsOf16Bytes; ++i) {
    if (i == kDigitsOf16Bytes / 2) bits = nonce.low;
    key_[i] = kDigits[bits & 63];
    bits >>= 6;
  }
  key_[kDigitsOf16Bytes - 1] = 'A';  // its last four bits stand for nothing
  constexpr std::string_view kName = "Sec-WebSocket-Key";
  if (head.fields.Find(kName) != nullptr) {  // the client's own means nothing here
    HeaderList others;
    for (const HeaderField& field : head.fields) {
      if (!EqualsIgnoreCase(field.name, kName)) others.Add(field);
    }
    head.fields = std::move(others);
  }
  head.fields.Add(kName, {key_.data(), key_.size()});
}

void Http2ServerStream::SendContinue() {
  server_.codec_.SubmitInformational(*stream_, 100, {});
  server_.AddOutput();
}

void Http2ServerStream::SendInformational(const ResponseHead& head) {
  std::vector<Http2Field>& fields = server_.fields_;
  fields.clear();
  ForEachClientField(head, {.informational = true}, server_.context_.loop.scratch(),
                     [&](std::string_view name, std::string_view value) {
                       fields.push_back({name, value});
                     });
  server_.codec_.SubmitInformational(*stream_, head.status, fields);
  server_.AddOutput();
}

void Http2ServerStream::SendResponseHead(const ResponseHead& head, std::string_view via) {
  ProxyContext& context = server_.context_;
  Arena& scratch = context.loop.scratch();
  ClientHeadOptions options{.date = {}, .via = via, .framing = {}};
  if (!head.fields.Has(HeaderId::kDate)) options.date = context.HttpDate();
  std::vector<Http2Field>& fields = server_.fields_;
  fields.clear();
  ForEachClientField(head, options, scratch, [&](std::string_view name, std::string_view value) {
    fields.push_back({name, value});
  });
  const Method method = stream_->request().method;
  const bool head_only = method == Method::kHead || head.status == 304;
  const BodyFraming framing = head_only ? HeaderOnlyFraming(head) : head.body;
  if (framing.kind == BodyFraming::Kind::kLength) {
    fields.push_back({"content-length", NumberText(framing.length, scratch)});
  }
  response_ended_ = head_only || !head.body.has_body();
  for (const Http2Field& field : fields) {
    response_bytes_out_ += field.name.size() + field.value.size();
  }
  server_.codec_.SubmitResponse(*stream_, head.status, fields, response_ended_);
  server_.AddOutput();
  pace_.Excuse();
}

void Http2ServerStream::SendResponseData(std::string_view bytes) {
  if (response_ended_) return;
  response_bytes_out_ += bytes.size();
  server_.lent_ += bytes.size();
  server_.codec_.SubmitData(*stream_, bytes);
  server_.AddOutput();
}

void Http2ServerStream::FinishResponse(const HeaderList& trailers) {
  if (response_ended_) return;
  response_ended_ = true;
  std::vector<Http2Field>& fields = server_.fields_;
  fields.clear();
  for (const HeaderField& field : trailers) {
    if (IsForwardableTrailer(field.id, field.name)) fields.push_back({field.name, field.value});
  }
  server_.codec_.SubmitEnd(*stream_, fields);
  server_.AddOutput();
}

void Http2ServerStream::AbortResponse() {
  server_.codec_.SubmitAbort(*stream_);
  server_.AddOutput();
}

// RFC 8441 5: a 2xx takes the place of the 101, and there is no key to accept.
void Http2ServerStream::BeginTunnel(const ResponseHead& head) {
  std::vector<Http2Field>& fields = server_.fields_;
  fields.clear();
  ForEachClientField(head, {.informational = true}, server_.context_.loop.scratch(),
                     [&](std::string_view name, std::string_view value) {
                       if (EqualsIgnoreCase(name, "sec-websocket-accept")) return;
                       fields.push_back({name, value});
                     });
  server_.codec_.SubmitResponse(*stream_, 200, fields, false);
  server_.AddOutput();
  in_tunnel_ = true;
  const Buffer early = std::exchange(early_, Buffer());
  if (!early.empty()) {
    exchange_->OnRequestData(early.view());
    server_.context_.loop.FlushDirty();  // what was lent lies in `early`
  }
  if (exchange_ == nullptr) return;
  if (paused_) {
    unconsumed_ += early.size();
  } else {
    server_.codec_.Consume(*stream_, early.size());
  }
  if (stream_->remote_ended()) exchange_->OnRequestEnd(HeaderList());
}

void Http2ServerStream::PauseRequestBody() {
  if (!std::exchange(paused_, true)) pace_.Pause(server_.context_.loop.now());
}

void Http2ServerStream::ResumeRequestBody() {
  if (std::exchange(paused_, false)) pace_.Resume(server_.context_.loop.now());
  if (unconsumed_ == 0) return;
  server_.codec_.Consume(*stream_, std::exchange(unconsumed_, 0));
  server_.AddOutput();
}

void Http2ServerStream::OnExchangeDone() {
  server_.context_.GiveExchange(std::move(exchange_));
  early_.Clear();
  if (stream_->request().websocket) server_.codec_.StopReceiving(*stream_);
  ResumeRequestBody();
}

void Http2ServerStream::Abandon(ErrorCode reason) {
  if (exchange_ != nullptr) exchange_->OnClientGone(reason);
  server_.codec_.Reset(*stream_, Http2ErrorCode::kCancel);
  server_.AddOutput();
}

void Http2ServerStream::OnTick(MonoTime now) {
  const bool sending = stream_->unsent() > 0;
  const bool receiving = exchange_ != nullptr && !paused_ && !stream_->remote_ended() &&
                         !stream_->request().websocket;  // a tunnel has its own clock
  const uint32_t floor = server_.context_.gateway().limits.min_body_rate;
  if (receiving && now > pace_.Limit(stream_->bytes_received(), floor)) return FailBody();
  // Who sends does not prolong the time in which it has to take what is sent.
  const uint64_t received = sending ? 0 : stream_->bytes_received();
  const uint64_t moved = received + stream_->bytes_sent();
  if (moved != std::exchange(moved_, moved) || !(sending || receiving)) {
    moved_at_ = now;
    return;
  }
  const Duration waited = now - moved_at_;
  if (sending && waited >= server_.timeouts().send) {
    server_.codec_.CountStall();
    return Abandon(ErrorCode::kClientSendTimeout);
  }
  if (!sending && waited >= server_.timeouts().body) FailBody();
}

void Http2ServerStream::FailBody() {
  exchange_->OnRequestFailed(ClientError(ErrorCode::kBodyTimeout, "the body took too long"));
}

Http2Server::Http2Server(ClientConnection& connection)
    : connection_(connection),
      context_(connection.context()),
      stream_(connection.stream()),
      codec_(Http2Codec::Role::kServer, context_.client_limits, context_.http2_limits,
             context_.http2_streams) {}

Http2Server::~Http2Server() {
  while (Http2ServerStream* stream = streams_.PopFront()) {
    const std::unique_ptr<Http2ServerStream> owned(stream);
  }
}

void Http2Server::Start() {
  idle_since_ = heads_at_ = sent_at_ = context_.loop.now();
  ticking_ = true;
  connection_.SetDeadline(TickPeriod());
  AddOutput();
  if (context_.draining) BeginDrain();
}

void Http2Server::OnRead(std::string_view bytes) {
  while (!bytes.empty() && !closing_) {
    codec_.Receive(bytes, context_.loop.now());
    TakeEvents();
  }
  if (closing_) return;
  if (!ticking_) {
    ticking_ = true;
    connection_.SetDeadline(TickPeriod());
  }
  if (codec_.has_output() || codec_.finished()) AddOutput();
}

void Http2Server::TakeEvents() {
  while (const Http2Event* next = codec_.NextEvent()) {
    const Http2Event event = *next;
    if (event.stream == nullptr) continue;
    if (event.kind == Http2Event::Kind::kHead || event.kind == Http2Event::Kind::kRefused ||
        event.kind == Http2Event::Kind::kMalformed) {
      BeginStream(event);
    } else if (auto* stream = static_cast<Http2ServerStream*>(event.stream->owner())) {
      stream->OnEvent(event);
    }
    if (closing_) return;
  }
}

void Http2Server::BeginStream(const Http2Event& event) {
  connection_.MarkBusy();
  std::unique_ptr<Http2ServerStream> owned;
  if (free_streams_.empty()) {
    owned = std::make_unique<Http2ServerStream>(*this);
  } else {
    owned = std::move(free_streams_.back());
    free_streams_.pop_back();
  }
  Http2ServerStream& stream = *owned.release();  // streams_ owns it
  streams_.PushBack(stream);
  stream.Begin(*event.stream, ++requests_);
  RequestHead& head = event.stream->request();
  if (event.kind == Http2Event::Kind::kHead) {
    if (head.websocket) stream.AddWebSocketKey(head);
    stream.exchange_->Begin(stream, head);
    // What follows is not a body.
    if (head.websocket && stream.exchange_ != nullptr) stream.exchange_->OnRequestEnd(HeaderList());
  } else if (event.kind == Http2Event::Kind::kMalformed) {
    stream.exchange_->Record(stream, head, event.stream->error());
  } else {
    stream.exchange_->Refuse(stream, head, event.stream->error());
  }
}

void Http2Server::EndStream(Http2ServerStream& stream) {
  stream.stream_->set_owner(nullptr);
  stream.ListNode<Http2ServerStream>::Unlink();
  std::unique_ptr<Http2ServerStream> owned(&stream);
  if (free_streams_.size() < kMostFreeStreams) free_streams_.push_back(std::move(owned));
  if (!streams_.empty() || closing_) return;
  idle_since_ = context_.loop.now();
  connection_.MarkIdle();
}

void Http2Server::OnCallbackEnd() {
  if (closing_) return;
  if (lent_ > kHoldLimit) return SendOutput();
  codec_.HoldLent(context_.loop.scratch());
}

void Http2Server::OnTurnEnd() {
  if (!closing_) SendOutput();
}

void Http2Server::SendOutput() {
  lent_ = 0;
  while (!closing_ && !blocked_ && codec_.has_output()) {
    for (const std::string_view piece : codec_.Pull(context_.loop.scratch(), kPullSize)) {
      stream_.Send(piece);
    }
    TakeEvents();  // what was sent may have ended a stream
  }
  if (closing_) return;
  codec_.KeepLent();
  TakeEvents();
  if (!closing_ && codec_.finished()) CloseGracefully();
}

void Http2Server::OnWritable() {
  blocked_ = false;
  AddOutput();
}

// Nothing more can be asked, not even for a window.
void Http2Server::OnEof() {
  closing_ ? stream_.CloseAfterFlush() : connection_.Close(ErrorCode::kClientClosed);
}

void Http2Server::CloseGracefully() {
  OnLost(ErrorCode::kClientClosed);
  if (codec_.flood() != Http2Flood::kNone) {
    context_.counters.http2_floods.Add();
    Log(LogLevel::kWarn, "client floods an HTTP/2 connection",
        {{"peer", connection_.peer_text()},
         {"flood", Http2FloodName(codec_.flood())},
         {"floods", context_.counters.http2_floods.value()}});
  }
  // Unread bytes would turn our close into a reset, which can overtake the GOAWAY.
  stream_.ShutdownWrite();
  connection_.SetDeadline(kLingerTime);
}

Duration Http2Server::TickPeriod() const {
  const Duration shortest =
      std::min({timeouts().header, timeouts().body, timeouts().send, timeouts().keepalive});
  return std::max(shortest / kTicksPerTimeout, kShortestTick);
}

void Http2Server::OnDeadline() {
  if (closing_) return connection_.Close(ErrorCode::kNone);
  if (draining_) {
    codec_.EndDrain();
    AddOutput();
  }
  const MonoTime now = context_.loop.now();
  if (HasTimedOut(now)) return;
  // A stream that is given up stays in the list until the codec has closed it.
  for (Http2ServerStream* stream = streams_.front(); stream != nullptr;
       stream = streams_.Next(*stream)) {
    stream->OnTick(now);
  }
  ticking_ = !streams_.empty() || codec_.in_head() || stream_.unsent() > 0;
  const Duration idle_left = idle_since_ + timeouts().keepalive - now;
  connection_.SetDeadline(ticking_ ? TickPeriod() : std::max(idle_left, kShortestTick));
}

bool Http2Server::HasTimedOut(MonoTime now) {
  const uint64_t heads = codec_.heads_received();
  if (heads != std::exchange(heads_, heads) || (codec_.established() && !codec_.in_head())) {
    heads_at_ = now;
  } else if (now - heads_at_ >= timeouts().header) {
    connection_.Close(ErrorCode::kHeaderTimeout);
    return true;
  }
  const uint64_t sent = stream_.bytes_sent();
  if (sent != std::exchange(sent_, sent) || stream_.unsent() == 0) {
    sent_at_ = now;
  } else if (now - sent_at_ >= timeouts().send) {
    connection_.Close(ErrorCode::kClientSendTimeout);
    return true;
  }
  if (streams_.empty() && now - idle_since_ >= timeouts().keepalive) {
    codec_.Terminate(Http2ErrorCode::kNoError);
    AddOutput();
  }
  return false;
}

void Http2Server::BeginDrain() {
  if (closing_ || std::exchange(draining_, true)) return;
  codec_.BeginDrain();
  AddOutput();
  ticking_ = false;
  connection_.SetDeadline(ClientConnection::kDrainGrace);
}

bool Http2Server::EndTunnels(ErrorCode reason) {
  bool any = false;
  for (Http2ServerStream* stream = streams_.front(); stream != nullptr;
       stream = streams_.Next(*stream)) {
    if (stream->exchange_ != nullptr && stream->exchange_->EndTunnel(reason)) any = true;
  }
  if (!any || closing_) return any;
  SendOutput();  // nothing leaves behind the GOAWAY
  if (closing_) return true;
  EndExchanges(reason);
  codec_.Terminate(Http2ErrorCode::kNoError);
  AddOutput();
  return true;
}

void Http2Server::EndExchanges(ErrorCode reason) {
  for (Http2ServerStream* stream = streams_.front(); stream != nullptr;
       stream = streams_.Next(*stream)) {
    if (stream->exchange_ != nullptr) stream->exchange_->OnClientGone(reason);
  }
}

void Http2Server::OnLost(ErrorCode reason) {
  if (std::exchange(closing_, true)) return;
  ListNode<OutputSource>::Unlink();
  connection_.MarkBusy();
  EndExchanges(reason);
}

}  // namespace sluice
