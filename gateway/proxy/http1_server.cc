#include "gateway/proxy/http1_server.h"

#include <cstdint>
#include <utility>

#include "gateway/proxy/exchange.h"
#include "gateway/proxy/forward_headers.h"

namespace sluice {
namespace {

// Pipelined bytes that may wait while an exchange runs; above it the client is not read.
constexpr size_t kLeftoverLimit = 64 * 1024;
// The rest of an unwanted body is read up to this size to keep the connection.
constexpr uint64_t kDiscardLimit = 256 * 1024;
// How long a client may take to notice that we have closed.
constexpr Duration kLingerTime = seconds(5);

}  // namespace

Http1Server::Http1Server(ClientConnection& connection)
    : ExchangeClient(&connection), context_(connection.context()), stream_(connection.stream()) {}

Http1Server::~Http1Server() = default;

void Http1Server::Start() { WaitFor(Waiting::kHead, context_.gateway().timeouts.header); }

bool Http1Server::in_head() const { return decoder_ != nullptr && decoder_->in_head(); }

bool Http1Server::CanProcess() const {
  if (body_paused_) return false;
  if (state_ == State::kServing) return !request_done_;
  // Who does not take the answers to what it has asked may not ask for more.
  if (state_ == State::kReady) return !blocked_;
  return state_ == State::kDiscarding;
}

void Http1Server::OnRead(std::string_view bytes) {
  if (state_ == State::kLingering || state_ == State::kClosing) return;
  if (in_tunnel_) return OnTunnelBytes(bytes);
  connection_->MarkBusy();
  if (decoder_ == nullptr) decoder_ = context_.TakeDecoder(Http1Decoder::Role::kServer);
  if (leftover_.empty()) {
    leftover_.Append(Process(bytes));
  } else {
    leftover_.Append(bytes);
    ProcessLeftover();
  }
  if (leftover_.size() > kLeftoverLimit && !CanProcess()) stream_.PauseReading();
  UpdateDeadline();
}

void Http1Server::ProcessLeftover() {
  bool progress = true;
  while (progress && !leftover_.empty() && CanProcess() && !processing_) {
    Buffer bytes = std::exchange(leftover_, Buffer());
    const std::string_view rest = Process(bytes.view());
    context_.loop.FlushDirty();  // what was lent lies in `bytes`; this may also end a pause
    progress = rest.size() < bytes.size();
    bytes.Consume(bytes.size() - rest.size());
    leftover_ = std::move(bytes);
  }
}

std::string_view Http1Server::Process(std::string_view bytes) {
  processing_ = true;
  while (CanProcess()) {
    const size_t before = bytes.size();
    const CodecEvent event = decoder_->Next(bytes);
    request_bytes_in_ += before - bytes.size();
    if (event == CodecEvent::kNeedMore) break;
    HandleEvent(event);
  }
  processing_ = false;
  return state_ == State::kLingering || state_ == State::kClosing ? std::string_view() : bytes;
}

void Http1Server::HandleEvent(CodecEvent event) {
  switch (event) {
    case CodecEvent::kNeedMore:
      return;
    case CodecEvent::kHead:
      return BeginExchange();
    case CodecEvent::kData:
      if (state_ == State::kServing) return exchange_->OnRequestData(decoder_->data());
      discarded_ += decoder_->data().size();
      if (discarded_ > kDiscardLimit) Linger();
      return;
    case CodecEvent::kEnd:
      return OnRequestDone();
    case CodecEvent::kError:
      return OnDecodeError();
  }
}

void Http1Server::BeginExchange() {
  state_ = State::kServing;
  ++request_number_;
  RequestHead& head = decoder_->request();
  close_after_response_ =
      !head.keep_alive || head.version == HttpVersion::kHttp10 || context_.draining;
  pace_.Start(context_.loop.now(), request_bytes_in_);
  exchange_ = context_.TakeExchange();
  exchange_->Begin(*this, head);
}

void Http1Server::OnRequestDone() {
  request_done_ = true;
  if (state_ == State::kServing) return exchange_->OnRequestEnd(decoder_->trailers());
  NextRequest();
}

void Http1Server::OnDecodeError() {
  close_after_response_ = true;
  if (state_ == State::kServing) return exchange_->OnRequestFailed(decoder_->error());
  if (state_ == State::kDiscarding) return Linger();
  state_ = State::kServing;
  ++request_number_;
  exchange_ = context_.TakeExchange();
  exchange_->Refuse(*this, decoder_->request(), decoder_->error());
}

void Http1Server::OnExchangeDone() {
  context_.GiveExchange(std::move(exchange_));
  if (state_ == State::kClosing) return;
  if (close_after_response_) {
    // Unread bytes would turn our close into a reset that can overtake the response.
    const bool more_may_come = in_tunnel_ && !eof_;
    if (!request_done_ || !leftover_.empty() || processing_ || more_may_come) return Linger();
    return CloseGracefully();
  }
  if (!request_done_) {
    state_ = State::kDiscarding;
    discarded_ = 0;
    ResumeRequestBody();
    return UpdateDeadline();
  }
  NextRequest();
}

void Http1Server::NextRequest() {
  state_ = State::kReady;
  request_done_ = body_paused_ = head_begun_ = continue_sent_ = false;
  request_bytes_in_ = response_bytes_out_ = 0;
  decoder_->StartMessage();
  if (!processing_) Proceed();  // otherwise the loop in Process goes on
}

// With what has come already, then with what comes.
void Http1Server::Proceed() {
  ProcessLeftover();
  if (state_ == State::kLingering || state_ == State::kClosing) return;
  if (state_ == State::kReady && eof_ && !HoldsRequests()) return CloseGracefully();
  const bool has_room = CanProcess() || leftover_.size() <= kLeftoverLimit;
  if (!body_paused_ && has_room) stream_.ResumeReading();
  UpdateDeadline();
}

void Http1Server::Send(std::string_view bytes) {
  response_bytes_out_ += bytes.size();
  stream_.Send(bytes);
}

void Http1Server::SendContinue() {
  continue_sent_ = true;
  Send("HTTP/1.1 100 Continue\r\n\r\n");
}

void Http1Server::SendInformational(const ResponseHead& head) {
  if (head.status == 100) continue_sent_ = true;
  Send(WriteClientHead(head, {.informational = true}, context_.loop.scratch()));
}

void Http1Server::SendResponseHead(const ResponseHead& head, std::string_view via) {
  const RequestHead& request = decoder_->request();
  ClientHeadOptions options{.date = {}, .via = via, .framing = head.body};
  if (!head.fields.Has(HeaderId::kDate)) options.date = context_.HttpDate();
  const bool no_body = request.method == Method::kHead || head.status == 304;
  response_chunked_ = false;
  if (no_body) {
    options.framing = HeaderOnlyFraming(head);
  } else if (head.body.kind == BodyFraming::Kind::kNone && head.status != 204) {
    options.framing = {BodyFraming::Kind::kLength, 0};  // ended with its head, in HTTP/2
  } else if (head.body.kind == BodyFraming::Kind::kChunked ||
             head.body.kind == BodyFraming::Kind::kUntilClose) {
    response_chunked_ = request.version != HttpVersion::kHttp10;
    options.framing.kind =
        response_chunked_ ? BodyFraming::Kind::kChunked : BodyFraming::Kind::kUntilClose;
  }
  // A client that waits for 100 and gets a final answer may or may not send the body: the end of
  // its request is not known.
  if (request.expect_continue && !continue_sent_ && !request_done_) close_after_response_ = true;
  if (context_.draining) close_after_response_ = true;
  options.close = close_after_response_;
  Send(WriteClientHead(head, options, context_.loop.scratch()));
  pace_.Excuse();
  if (!request_done_) UpdateDeadline();
}

void Http1Server::SendResponseData(std::string_view bytes) {
  if (!response_chunked_) return Send(bytes);
  Send(WriteChunkHead(bytes.size(), context_.loop.scratch()));
  Send(bytes);
  Send("\r\n");
}

void Http1Server::FinishResponse(const HeaderList& trailers) {
  if (in_tunnel_) return stream_.ShutdownWrite();
  if (!response_chunked_) return;
  Send("0\r\n");
  if (!trailers.empty()) Send(WriteTrailers(trailers, context_.loop.scratch()));
  Send("\r\n");
}

void Http1Server::AbortResponse() {
  stream_.OmitTlsEnd();
  CloseGracefully();
}

void Http1Server::BeginTunnel(const ResponseHead& head) {
  in_tunnel_ = close_after_response_ = true;
  response_chunked_ = false;
  Send(WriteClientHead(head, {.informational = true, .upgrade = true}, context_.loop.scratch()));
  const Buffer early = std::exchange(leftover_, Buffer());
  if (!early.empty()) {
    OnTunnelBytes(early.view());
    context_.loop.FlushDirty();  // what was lent lies in `early`
  }
  if (state_ != State::kServing) return;
  if (eof_) return exchange_->OnRequestEnd(HeaderList());
  if (!body_paused_) stream_.ResumeReading();
}

void Http1Server::OnTunnelBytes(std::string_view bytes) {
  request_bytes_in_ += bytes.size();
  exchange_->OnRequestData(bytes);
}

void Http1Server::PauseRequestBody() {
  // There is none, and only reading tells that the client has gone.
  if (!in_tunnel_ && !decoder_->request().body.has_body()) return;
  if (!std::exchange(body_paused_, true)) pace_.Pause(context_.loop.now());
  if (request_done_ && !in_tunnel_) return;
  stream_.PauseReading();
  UpdateDeadline();
}

void Http1Server::ResumeRequestBody() {
  if (!std::exchange(body_paused_, false)) return;
  pace_.Resume(context_.loop.now());
  if (leftover_.empty()) {
    if (CanProcess() && !processing_) Process({});  // the end of a body may be due without a byte
  } else {
    ProcessLeftover();
  }
  if (body_paused_ || state_ == State::kClosing || state_ == State::kLingering) return;
  stream_.ResumeReading();
  UpdateDeadline();
}

void Http1Server::OnEof() {
  eof_ = true;
  if (state_ == State::kClosing) return;
  if (state_ == State::kServing && in_tunnel_) return exchange_->OnRequestEnd(HeaderList());
  // A client may half-close after its last request and still read the response (RFC 9112 9.6).
  if (state_ == State::kServing && request_done_) return;
  if (state_ == State::kServing) return connection_->Close(ErrorCode::kClientClosed);
  if (state_ == State::kReady && HoldsRequests()) return;
  CloseGracefully();
}

void Http1Server::OnBlocked() {
  blocked_ = true;
  unsent_at_deadline_ = stream_.unsent();
  if (state_ == State::kServing) exchange_->PauseResponse();
  UpdateDeadline();
}

void Http1Server::OnWritable() {
  blocked_ = false;
  if (state_ == State::kReady) return Proceed();
  if (state_ == State::kServing) exchange_->ResumeResponse();
  UpdateDeadline();
}

// Answers are complete, but the client still sends: close our side, read on for a while, so that
// the answer is not destroyed by a reset (nginx calls this lingering close).
void Http1Server::Linger() {
  state_ = State::kLingering;
  leftover_.Clear();
  body_paused_ = false;
  stream_.ShutdownWrite();
  stream_.ResumeReading();
  unsent_at_deadline_ = SIZE_MAX;
  WaitFor(Waiting::kLinger, kLingerTime);
  if (eof_) stream_.CloseAfterFlush();
}

// Everything was read: close as soon as the client has taken what was sent.
void Http1Server::CloseGracefully() {
  state_ = State::kClosing;
  connection_->MarkBusy();
  unsent_at_deadline_ = SIZE_MAX;
  WaitFor(Waiting::kSend, context_.gateway().timeouts.send);
  stream_.CloseAfterFlush();
}

void Http1Server::WaitFor(Waiting waiting, Duration timeout) {
  waiting_ = waiting;
  connection_->SetDeadline(timeout);
}

void Http1Server::UpdateDeadline() {
  if (state_ == State::kLingering || state_ == State::kClosing) return;
  const conf::TimeoutConfig& timeouts = context_.gateway().timeouts;
  if (blocked_) {
    // Whatever else the client does, it has to take what is sent.
    if (waiting_ != Waiting::kSend) WaitFor(Waiting::kSend, timeouts.send);
    return;
  }
  if (state_ == State::kReady) {
    if (in_head()) {
      // Counts from the first byte of the head, however slowly the rest comes.
      const bool begins = !std::exchange(head_begun_, true);
      if (begins || waiting_ != Waiting::kHead) WaitFor(Waiting::kHead, timeouts.header);
      return;
    }
    connection_->MarkIdle();
    if (decoder_ != nullptr && decoder_->is_fresh()) context_.GiveDecoder(std::move(decoder_));
    return WaitFor(Waiting::kIdle,
                   context_.draining ? ClientConnection::kDrainGrace : timeouts.keepalive);
  }
  if (!request_done_ && !body_paused_) return WaitForBody();
  waiting_ = Waiting::kNothing;
  connection_->CancelDeadline();
}

void Http1Server::WaitForBody() {
  sent_at_deadline_ = response_bytes_out_;
  const conf::GatewayConfig& gateway = context_.gateway();
  const MonoTime limit = pace_.Limit(request_bytes_in_, gateway.limits.min_body_rate);
  WaitFor(Waiting::kBody, std::min(gateway.timeouts.body, limit - context_.loop.now()));
}

void Http1Server::OnDeadline() {
  switch (waiting_) {
    case Waiting::kHead:
      if (!in_head()) return connection_->Close(ErrorCode::kHeaderTimeout);
      close_after_response_ = true;
      state_ = State::kServing;
      exchange_ = context_.TakeExchange();
      return exchange_->Refuse(*this, decoder_->request(),
                               ClientError(ErrorCode::kHeaderTimeout, "the head took too long"));
    case Waiting::kBody:
      if (state_ != State::kServing) return Linger();
      // A client that is being answered may have nothing to say.
      if (response_bytes_out_ != sent_at_deadline_) return WaitForBody();
      close_after_response_ = true;
      return exchange_->OnRequestFailed(
          ClientError(ErrorCode::kBodyTimeout, "the body took too long"));
    case Waiting::kSend:
    case Waiting::kLinger:
      return OnSendDeadline();
    case Waiting::kNothing:
    case Waiting::kIdle:
      return CloseGracefully();
  }
}

void Http1Server::OnSendDeadline() {
  const size_t unsent = stream_.unsent();
  const bool progress = unsent < std::exchange(unsent_at_deadline_, unsent);
  if (progress && unsent > 0) return WaitFor(waiting_, context_.gateway().timeouts.send);
  connection_->Close(ErrorCode::kClientSendTimeout);
}

void Http1Server::BeginDrain() {
  if (state_ == State::kServing) {
    close_after_response_ = true;
  } else if (state_ == State::kReady && !in_head()) {
    WaitFor(Waiting::kIdle, ClientConnection::kDrainGrace);
  }
}

bool Http1Server::EndTunnels(ErrorCode reason) {
  return state_ == State::kServing && exchange_->EndTunnel(reason);
}

void Http1Server::OnLost(ErrorCode reason) {
  if (state_ == State::kServing) {
    state_ = State::kClosing;
    if (response_bytes_out_ > 0) stream_.OmitTlsEnd();  // the response is cut
    exchange_->OnClientGone(reason);
  }
  state_ = State::kClosing;
}

}  // namespace sluice
