// The stream of one call on an HTTP/2 connection to an upstream.
#include <string>
#include <utility>

#include "gateway/http/hygiene.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/http2_upstream.h"
#include "gateway/proxy/upstream_call.h"

namespace sluice {

Http2Channel::Http2Channel(ProxyContext& context, UpstreamCall& call)
    : call_(call), deadline_(context.loop.deadlines(), *this) {}

bool Http2Channel::Join(ProxyContext& context, const std::shared_ptr<UpstreamState>& upstream,
                        const std::shared_ptr<Endpoint>& endpoint,
                        const conf::UpstreamConfig& config, UpstreamWay way) {
  endpoint_ = endpoint;
  paused_ = blocked_ = request_sent_ = response_begun_ = response_done_ = false;
  unconsumed_ = 0;
  connection_ = Http2Upstream::FindOpen(*endpoint, way);
  reused_ = connection_ != nullptr;
  if (reused_) return true;
  connection_ = Http2Upstream::FindConnecting(*endpoint, way);
  if (connection_ == nullptr) {
    Http2Upstream::Settings settings{std::move(way), config.keepalive_idle,
                                     config.keepalive_requests};
    if (settings.way.counted) settings.counted_by = upstream;
    connection_ = &Http2Upstream::Connect(context, endpoint, std::move(settings));
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
  connection->OnUseChanged();
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
  if (stream_ == nullptr) {
    return Fail(UpstreamError(ErrorCode::kConnectTimeout, Retry::kSafe,
                              endpoint_->name + ": no stream became free in time"));
  }
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

}  // namespace sluice
