#include "gateway/http/http2_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <nghttp2/nghttp2.h>

#include "gateway/base/block_pool.h"
#include "gateway/http/hygiene.h"

namespace sluice {
namespace {

// Input is parsed in steps, so that the events of one step are few.
constexpr size_t kStep = 16 * 1024;
// A head is decompressed to its end, because the table of the connection depends on it; but not
// when it is as far as this above its limit.
constexpr uint64_t kHopelessHead = 4;
// Lists that a busy moment made longer than this are given back.
constexpr size_t kUsualEvents = 64;
// Beyond any head that the limits of the other side let through.
constexpr size_t kLongestHead = 1 << 20;

const uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string_view Text(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

BlockPool& Pool(void* user) { return *static_cast<BlockPool*>(user); }

// nghttp2 allocates some ten small blocks for a request.
nghttp2_mem* Memory() {
  static thread_local BlockPool pool;
  static thread_local nghttp2_mem memory = {
      .mem_user_data = &pool,
      .malloc = [](size_t size, void* user) { return Pool(user).Allocate(size); },
      .free = [](void* block, void* user) { Pool(user).Free(block); },
      .calloc = [](size_t count, size_t size,
                   void* user) { return Pool(user).AllocateZero(count, size); },
      .realloc = [](void* block, size_t size,
                    void* user) { return Pool(user).Resize(block, size); }};
  return &memory;
}

}  // namespace

// What nghttp2 calls. Only collects: nothing of the owner runs while the parser is on the stack.
struct Http2Codec::Callbacks {
  static Http2Codec& Codec(void* user) { return *static_cast<Http2Codec*>(user); }
  static Http2Stream* Find(nghttp2_session* session, int32_t id) {
    return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int OnBeginFrame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) noexcept {
    const bool opens = head->type == NGHTTP2_HEADERS && head->stream_id % 2 == 1;
    if (!opens || Codec(user).role_ == Role::kClient) return 0;
    if (!Codec(user).ids_.Open(head->stream_id))
      Codec(user).Terminate(Http2ErrorCode::kProtocolError);
    return 0;
  }

  static int OnBeginHeaders(nghttp2_session* session, const nghttp2_frame* frame,
                            void* user) noexcept {
    Http2Stream* stream = Find(session, frame->hd.stream_id);
    if (stream == nullptr) stream = &Codec(user).OpenStream(frame->hd.stream_id);
    Codec(user).head_stream_ = stream;
    Codec(user).StartFields(*stream);
    return 0;
  }

  // NOLINTNEXTLINE(readability-function-size): the parameters are nghttp2's
  static int OnHeader(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* user) noexcept {
    Http2Stream* stream = Codec(user).head_stream_;
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    Codec(user).OnField(*stream, Text(name, name_size), Text(value, value_size));
    return 0;
  }

  // NOLINTNEXTLINE(readability-function-size): the parameters are nghttp2's
  static int OnInvalidHeader(nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t,
                             const uint8_t*, size_t, uint8_t, void*) noexcept {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // otherwise the field is skipped silently
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) noexcept {
    HandleFrame(Codec(user), Find(session, frame->hd.stream_id), *frame);
    return 0;
  }

  static void HandleFrame(Http2Codec& codec, Http2Stream* stream, const nghttp2_frame& frame) {
    const bool ended = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame.hd.type) {
      case NGHTTP2_HEADERS:
        if (stream != nullptr) codec.OnHead(*stream, ended);
        return;
      case NGHTTP2_DATA:
        if (stream != nullptr && ended) codec.OnMessageEnd(*stream);
        return;
      case NGHTTP2_SETTINGS:
        codec.established_ = true;
        return;
      case NGHTTP2_PING:
        if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) codec.OnPong(frame.ping.opaque_data[0]);
        return;
      case NGHTTP2_GOAWAY:
        codec.events_.push_back({.kind = Http2Event::Kind::kGoaway,
                                 .code = static_cast<Http2ErrorCode>(frame.goaway.error_code)});
        return;
      default:
        return;
    }
  }

  // A frame that nghttp2 answers with RST_STREAM. Of a known stream it counts when it is sent; for
  // others there is no bound on how many are waiting.
  static int OnInvalidFrame(nghttp2_session* session, const nghttp2_frame* frame, int error,
                            void* user) noexcept {
    Http2Stream* stream = Find(session, frame->hd.stream_id);
    if (stream == nullptr) Codec(user).Spend(Http2Flood::kReset);
    if (stream != nullptr) Codec(user).OnMalformed(*stream, nghttp2_strerror(error));
    return 0;
  }

  // NOLINTNEXTLINE(readability-function-size): the parameters are nghttp2's
  static int OnData(nghttp2_session* session, uint8_t flags, int32_t id, const uint8_t* data,
                    size_t size, void* user) noexcept {
    Http2Stream* stream = Find(session, id);
    const bool ended = (flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (stream != nullptr) Codec(user).OnBody(*stream, Text(data, size), ended);
    return 0;
  }

  static int OnClose(nghttp2_session* session, int32_t id, uint32_t code, void* user) noexcept {
    if (Http2Stream* stream = Find(session, id)) Codec(user).OnStreamClosed(*stream, code);
    return 0;
  }

  static int OnSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) noexcept {
    if (frame->hd.type == NGHTTP2_GOAWAY) Codec(user).OnGoawaySent();
    Http2Stream* stream = Find(session, frame->hd.stream_id);
    if (stream != nullptr) HandleSent(Codec(user), *stream, *frame);
    return 0;
  }

  static void HandleSent(Http2Codec& codec, Http2Stream& stream, const nghttp2_frame& frame) {
    if (frame.hd.type == NGHTTP2_RST_STREAM) {
      const bool ours = stream.reset_by_owner_ || frame.rst_stream.error_code == NGHTTP2_NO_ERROR;
      if (!ours) codec.Spend(Http2Flood::kReset);
      return;
    }
    if (frame.hd.type != NGHTTP2_DATA && frame.hd.type != NGHTTP2_HEADERS) return;
    if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
    stream.end_sent_ = true;
    // RFC 9113 8.1: the response is complete, and nobody wants the rest of the request.
    if (codec.role_ == Role::kServer && (!stream.request_.websocket || stream.unwanted_)) {
      codec.StopReceiving(stream);
    }
  }

  // For example a head that is too large to be sent: the stream must not hang.
  static int OnNotSent(nghttp2_session* session, const nghttp2_frame* frame, int,
                       void* user) noexcept {
    Http2Stream* stream = Find(session, frame->hd.stream_id);
    const bool head = frame->hd.type == NGHTTP2_HEADERS;
    if (stream != nullptr && head) Codec(user).Reset(*stream, Http2ErrorCode::kInternalError);
    return 0;
  }

  static const nghttp2_session_callbacks* Get() {
    static const nghttp2_session_callbacks* const callbacks = Make();
    return callbacks;
  }

  static const nghttp2_session_callbacks* Make() {
    nghttp2_session_callbacks* set = nullptr;
    SLUICE_CHECK(nghttp2_session_callbacks_new(&set) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(set, OnBeginFrame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(set, OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(set, OnHeader);
    nghttp2_session_callbacks_set_on_invalid_header_callback(set, OnInvalidHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(set, OnFrame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(set, OnInvalidFrame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(set, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(set, OnClose);
    nghttp2_session_callbacks_set_on_frame_send_callback(set, OnSent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(set, OnNotSent);
    RegisterOutput(set);
    return set;
  }
};

Http2Codec::Http2Codec(Role role, const CodecLimits& limits, const Http2Limits& http2_limits,
                       Http2StreamPool& pool)
    : role_(role),
      limits_(limits),
      http2_limits_(http2_limits),
      pool_(pool),
      meter_(role == Role::kServer ? kPreface.size() : 0) {
  nghttp2_option* option = nullptr;
  SLUICE_CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_auto_window_update(option, 1);
  // Requests are checked by our own rules (http2_rules.h), which are stricter and say what is
  // wrong.
  nghttp2_option_set_no_http_messaging(option, role == Role::kServer ? 1 : 0);
  // They would be kept for RFC 7540's tree of priorities, as many as may be open: 128 a connection.
  nghttp2_option_set_no_closed_streams(option, 1);
  // Counted by the meter, whose limit is lower.
  nghttp2_option_set_stream_reset_rate_limit(option, 1 << 30, 1 << 30);
  nghttp2_option_set_max_send_header_block_length(option, kLongestHead);
  nghttp2_session* session = nullptr;
  const int error =
      role == Role::kServer
          ? nghttp2_session_server_new3(&session, Callbacks::Get(), this, option, Memory())
          : nghttp2_session_client_new3(&session, Callbacks::Get(), this, option, Memory());
  nghttp2_option_del(option);
  SLUICE_CHECK(error == 0);
  session_.reset(session);
  Configure();
}

Http2Codec::~Http2Codec() {
  session_.reset();  // without callbacks
  while (Http2Stream* stream = streams_.PopFront())
    pool_.Give(std::unique_ptr<Http2Stream>(stream));
}

void Http2Codec::SessionDeleter::operator()(nghttp2_session* session) const {
  nghttp2_session_del(session);
}

void Http2Codec::Configure() {
  std::array<nghttp2_settings_entry, 4> settings{};
  size_t count = 0;
  const auto set = [&](int32_t id, uint32_t value) { settings[count++] = {id, value}; };
  if (role_ == Role::kServer) {
    set(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, http2_limits_.streams);
    if (http2_limits_.extended_connect) set(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
  } else {
    set(NGHTTP2_SETTINGS_ENABLE_PUSH, 0);
  }
  set(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, http2_limits_.stream_window);
  set(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits_.head);
  int error = nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings.data(), count);
  SLUICE_CHECK(error == 0);
  // Clients share a connection to a node: those who do not take their responses must not hold up
  // the others, and each of these is bounded by its stream's window.
  const uint32_t window = role_ == Role::kServer ? http2_limits_.connection_window : INT32_MAX;
  error = nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0,
                                                static_cast<int32_t>(window));
  SLUICE_CHECK(error == 0);
}

void Http2Codec::Receive(std::string_view& input, MonoTime now) {
  SLUICE_CHECK(next_event_ == events_.size());
  FreeRetired();
  now_ = now;
  const std::string_view step = input.substr(0, kStep);
  input.remove_prefix(step.size());
  if (broken_) return;
  if (const Http2Flood flood = meter_.Count(step, now); flood != Http2Flood::kNone) {
    return Fail(flood);
  }
  const ssize_t taken = nghttp2_session_mem_recv(session_.get(), Bytes(step), step.size());
  if (taken >= 0) return;
  switch (taken) {
    case NGHTTP2_ERR_FLOODED:
      return Fail(Http2Flood::kAcknowledge);
    case NGHTTP2_ERR_TOO_MANY_SETTINGS:
      return Fail(Http2Flood::kSettings);
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
      return Fail(Http2Flood::kContinuation);
    default:  // the preface is not one
      return Terminate(Http2ErrorCode::kProtocolError);
  }
}

const Http2Event* Http2Codec::NextEvent() {
  if (next_event_ == events_.size()) {
    events_.clear();
    next_event_ = 0;
    if (events_.capacity() > kUsualEvents) events_.shrink_to_fit();
    return nullptr;
  }
  const Http2Event& event = events_[next_event_++];
  if (event.kind == Http2Event::Kind::kClosed) retired_.push_back(event.stream);
  return &event;
}

void Http2Codec::FreeRetired() {
  for (Http2Stream* stream : retired_) {
    if (stream->touched_) touched_.erase(std::find(touched_.begin(), touched_.end(), stream));
    stream->Unlink();
    pool_.Give(std::unique_ptr<Http2Stream>(stream));
  }
  retired_.clear();
}

Http2Stream& Http2Codec::OpenStream(int32_t id) {
  Http2Stream& stream = *pool_.Take().release();  // streams_ owns it
  streams_.PushBack(stream);
  stream.id_ = id;
  ++open_streams_;
  nghttp2_session_set_stream_user_data(session_.get(), id, &stream);
  return stream;
}

void Http2Codec::StartFields(Http2Stream& stream) {
  if (stream.head_done_) {
    collector_.Start(stream.rest().trailers, limits_.trailers, limits_.fields);
    collector_.RefusePseudo();
  } else if (role_ == Role::kServer) {
    ForgetHead(stream.request_);
    collector_.Start(stream.request_.fields, limits_.head, limits_.fields);
  } else {
    ForgetHead(stream.response());
    collector_.Start(stream.response().fields, limits_.head, limits_.fields);
  }
}

void Http2Codec::OnField(Http2Stream& stream, std::string_view name, std::string_view value) {
  if (stream.rejected_) return;
  stream.received_ += name.size() + value.size();
  collector_.Add(name, value, stream.arena_);
  if (collector_.bytes() > kHopelessHead * limits_.head) Fail(Http2Flood::kHeaders);
}

void Http2Codec::OnHead(Http2Stream& stream, bool ended) {
  ++heads_received_;
  if (stream.rejected_) return;
  collector_.Finish(stream.arena_);
  if (!stream.head_done_) {
    role_ == Role::kServer ? OnRequestHead(stream, ended) : OnResponseHead(stream, ended);
  } else if (!ended) {
    return Reject(stream,
                  ClientError(ErrorCode::kMalformedRequest, "expected trailers at the end"));
  } else if (collector_.is_too_large()) {
    return Reject(stream, ClientError(ErrorCode::kHeadersTooLarge, "expected fewer trailers"));
  } else if (Status status = CheckHttp2Fields(stream.trailers()); !status.has_value()) {
    return Reject(stream, std::move(status).error());
  }
  if (ended && !stream.rejected_) OnMessageEnd(stream);
}

void Http2Codec::OnRequestHead(Http2Stream& stream, bool ended) {
  const Http2PseudoFields& pseudo = collector_.pseudo();
  RequestHead& head = stream.request_;
  stream.head_done_ = true;
  const bool long_path = pseudo.path.size() > limits_.request_line;
  if (long_path || collector_.is_too_large()) {
    SetHttp2RequestLine(pseudo, head);
    return Refuse(
        stream, long_path
                    ? ClientError(ErrorCode::kUriTooLong, "expected a shorter :path")
                    : ClientError(ErrorCode::kHeadersTooLarge, "expected fewer or smaller fields"));
  }
  if (pseudo.protocol.data() != nullptr && !http2_limits_.extended_connect) {
    return Reject(stream, ClientError(ErrorCode::kMalformedRequest,
                                      "expected no :protocol: extended CONNECT is not offered"));
  }
  if (Status status = CheckHttp2Request(pseudo, ended, head); !status.has_value()) {
    const bool deserves_answer = status.error().code == ErrorCode::kExpectationFailed;
    return deserves_answer ? Refuse(stream, std::move(status).error())
                           : Reject(stream, std::move(status).error());
  }
  stream.body_left_ = head.body.kind == BodyFraming::Kind::kLength ? head.body.length : UINT64_MAX;
  // Passed on, it would be a complete request, whatever the client sends behind it.
  stream.head_held_ = !ended && stream.body_left_ == 0;
  if (!stream.head_held_) AnnounceHead(stream);
}

void Http2Codec::AnnounceHead(Http2Stream& stream) {
  stream.head_held_ = false;
  stream.announced_ = true;
  events_.push_back({.kind = Http2Event::Kind::kHead, .stream = &stream});
}

void Http2Codec::OnResponseHead(Http2Stream& stream, bool ended) {
  ResponseHead& head = stream.response();
  if (collector_.is_too_large()) {
    return Reject(stream, UpstreamError(ErrorCode::kResponseHeadTooLarge, Retry::kNever,
                                        "expected fewer or smaller fields"));
  }
  if (Status status = CheckHttp2Response(collector_.pseudo(), ended, stream.request_method_, head);
      !status.has_value()) {
    return Reject(stream, std::move(status).error());
  }
  if (head.status >= 200) {
    stream.head_done_ = true;
    events_.push_back({.kind = Http2Event::Kind::kHead, .stream = &stream});
    return;
  }
  auto& interim = stream.rest().interim;
  if (interim.size() >= limits_.informational) {
    return Reject(stream, UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                                        "expected fewer informational responses"));
  }
  // The final head may follow before the owner sees this one.
  interim.push_back(std::make_unique<ResponseHead>(std::exchange(head, {})));
  events_.push_back({.kind = Http2Event::Kind::kInformational,
                     .stream = &stream,
                     .informational = interim.back().get()});
}

void Http2Codec::OnBody(Http2Stream& stream, std::string_view bytes, bool ended) {
  stream.received_ += bytes.size();
  if (stream.rejected_) {
    nghttp2_session_consume(session_.get(), stream.id_, bytes.size());
    return;
  }
  stream.unconsumed_ += bytes.size();
  if (role_ == Role::kServer) {
    if (bytes.size() > stream.body_left_) return RejectLength(stream);
    stream.body_left_ -= bytes.size();
    // The last byte makes the request complete for an HTTP/1 upstream: not before END_STREAM says
    // that the length is right.
    if (stream.body_left_ == 0 && !ended) {
      stream.last_byte_ = bytes.back();
      stream.last_byte_held_ = true;
      bytes.remove_suffix(1);
      if (bytes.empty()) return;
    }
  }
  events_.push_back({.kind = Http2Event::Kind::kData, .stream = &stream, .data = bytes});
}

void Http2Codec::OnMessageEnd(Http2Stream& stream) {
  stream.remote_ended_ = true;
  if (role_ == Role::kServer && !stream.rejected_ && stream.body_left_ > 0 &&
      stream.request_.body.kind == BodyFraming::Kind::kLength) {
    return RejectLength(stream);
  }
  if (stream.head_held_) AnnounceHead(stream);
  if (stream.last_byte_held_ && !stream.rejected_) {
    events_.push_back(
        {.kind = Http2Event::Kind::kData, .stream = &stream, .data = {&stream.last_byte_, 1}});
  }
  if (!stream.rejected_) events_.push_back({.kind = Http2Event::Kind::kEnd, .stream = &stream});
}

void Http2Codec::OnStreamClosed(Http2Stream& stream, uint32_t code) {
  stream.closed_ = true;
  --open_streams_;
  stream.body_.Clear();
  if (stream.unconsumed_ > 0) {
    nghttp2_session_consume_connection(session_.get(), std::exchange(stream.unconsumed_, 0));
  }
  // A malformed message that ends its stream closes it before our RST_STREAM is sent.
  const auto reason =
      stream.malformed_ ? Http2ErrorCode::kProtocolError : static_cast<Http2ErrorCode>(code);
  const bool is_known = stream.announced_ || reason == Http2ErrorCode::kProtocolError;
  if (is_known && !stream.announced_) {
    OnMalformed(stream, "the body is not as content-length says");
    events_.push_back({.kind = Http2Event::Kind::kMalformed, .stream = &stream});
  }
  if (head_stream_ == &stream) head_stream_ = nullptr;
  if (!is_known) return retired_.push_back(&stream);
  events_.push_back({.kind = Http2Event::Kind::kClosed, .stream = &stream, .code = reason});
}

void Http2Codec::OnMalformed(Http2Stream& stream, std::string_view why) {
  if (role_ == Role::kClient || stream.announced_ || !stream.error().detail.empty()) return;
  if (!stream.head_done_ && head_stream_ == &stream) {
    SetHttp2RequestLine(collector_.pseudo(), stream.request_);
  }
  stream.rest().error = ClientError(ErrorCode::kMalformedRequest, std::string(why));
}

void Http2Codec::Refuse(Http2Stream& stream, Error error) {
  stream.rejected_ = stream.announced_ = true;
  stream.rest().error = std::move(error);
  events_.push_back({.kind = Http2Event::Kind::kRefused, .stream = &stream});
}

void Http2Codec::Reject(Http2Stream& stream, Error error) {
  stream.rejected_ = stream.malformed_ = true;
  stream.rest().error = std::move(error);
  nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream.id_, NGHTTP2_PROTOCOL_ERROR);
}

void Http2Codec::RejectLength(Http2Stream& stream) {
  Reject(stream,
         ClientError(ErrorCode::kBadFraming, "expected as many bytes as content-length says"));
}

void Http2Codec::Spend(Http2Flood kind) {
  if (const Http2Flood flood = meter_.Take(kind, now_); flood != Http2Flood::kNone) Fail(flood);
}

void Http2Codec::Fail(Http2Flood flood) {
  if (flood_ == Http2Flood::kNone) flood_ = flood;
  Terminate(Http2ErrorCode::kEnhanceYourCalm);
}

}  // namespace sluice
