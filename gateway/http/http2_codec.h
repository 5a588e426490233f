// HTTP/2 bytes to events and back, for either role, on nghttp2; knows no sockets and no clock. A
// server-role codec belongs to a client connection, a client-role one to an upstream connection,
// and lives as long as it. nghttp2 can only push: its callbacks collect events, which the owner
// takes after the parser has returned. A turn of the owner:
//
//   while (!input.empty()) { Receive(input, now); while (event = NextEvent()) act; }   bytes came
//   Submit…, Reset, Consume                                                           at any time
//   HoldLent                                                           the callback ends
//   Pull → send the pieces; KeepLent; events again                     the turn ends
//
// Memory is bounded: heads by CodecLimits, bodies by the windows, events by the size of a step,
// frames without a message by Http2FrameMeter. A malformed message (RFC 9113 8.1.1) resets its
// stream with PROTOCOL_ERROR. That is reported as kClosed, with kMalformed before it when there was
// no kHead; never more often than resets are sent, for which there is a budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "gateway/base/arena.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/base/time.h"
#include "gateway/http/codec.h"
#include "gateway/http/http2_budget.h"
#include "gateway/http/http2_stream.h"

struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace sluice {

// RFC 9113 7.
enum class Http2ErrorCode : uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kSettingsTimeout = 4,
  kStreamClosed = 5,
  kFrameSizeError = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompressionError = 9,
  kConnectError = 10,
  kEnhanceYourCalm = 11,
  kInadequateSecurity = 12,
  kHttp11Required = 13,
};

struct Http2Limits {
  uint32_t streams = 128;                // at one time, opened by the peer
  uint32_t stream_window = 128 * 1024;   // body bytes of a stream that the owner has not consumed
  uint32_t connection_window = 1 << 20;  // the same for all of them; server role
  size_t blocked = 32 * 1024;            // unsent body bytes of a stream: kBlocked
  bool extended_connect = false;         // RFC 8441, server role
};

struct Http2Event {
  enum class Kind : uint8_t {
    kHead,           // the stream's head
    kInformational,  // client role: `informational`, before the head
    kRefused,    // the same, but it cannot be served: stream.error() says why. Its body is ignored
    kMalformed,  // server role: there was a request here that was none, and its stream is reset;
                 // stream.error() says why, and the head is as far as it was understood
    kData,       // `data`, a view into the input. Consume it when it has been passed on
    kEnd,        // the message is complete, with its trailers
    kBlocked,    // the peer does not take the body as fast as it is made: stop until kWritable
    kWritable,   // it has taken it
    kClosed,     // the last event of a stream; `code` is kNoError when both sides had ended
    kGoaway,     // the peer wants no new streams on this connection; `code` says why
    kPong,       // the peer has answered Ping
  };
  Kind kind = Kind::kHead;
  Http2Stream* stream = nullptr;
  std::string_view data{};
  ResponseHead* informational = nullptr;  // as long as the stream
  Http2ErrorCode code = Http2ErrorCode::kNoError;
};

class Http2Codec {
 public:
  enum class Role : uint8_t { kServer, kClient };

  // What a client sends first (RFC 9113 3.4).
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

  static std::string Library();  // "nghttp2 1.52.0", for the version command
  // Limits and pool outlive the codec. Our SETTINGS are the first output.
  Http2Codec(Role role, const CodecLimits& limits, const Http2Limits& http2_limits,
             Http2StreamPool& pool);
  ~Http2Codec();
  Http2Codec(const Http2Codec&) = delete;
  Http2Codec& operator=(const Http2Codec&) = delete;

  // Takes a step of bytes from the front of `input`. All events must be taken before the next step.
  void Receive(std::string_view& input, MonoTime now);
  // The next event, or null. It is valid until the next call of anything here.
  const Http2Event* NextEvent();

  // Client role. Null when the peer allows no further stream now, or ever.
  Http2Stream* SubmitRequest(Method method, std::span<const Http2Field> fields, bool ended);
  // Server role. `ended`: no body and no trailers follow.
  void SubmitResponse(Http2Stream& stream, int status, std::span<const Http2Field> fields,
                      bool ended);
  void SubmitInformational(Http2Stream& stream, int status, std::span<const Http2Field> fields);

  void SubmitData(Http2Stream& stream, std::string_view lent);  // until the callback ends
  void SubmitEnd(Http2Stream& stream, std::span<const Http2Field> trailers);
  // Instead of SubmitEnd: the body cannot be completed. What was submitted is sent, then a reset.
  void SubmitAbort(Http2Stream& stream);
  // Abandons the stream; kClosed follows when that has been sent.
  void Reset(Http2Stream& stream, Http2ErrorCode code);
  // A tunnel is over: resets the stream when its end has been sent, if the peer has not ended it.
  void StopReceiving(Http2Stream& stream);
  // Opens the windows by what came in kData and has been passed on. What is never consumed is given
  // back to the connection when the stream closes.
  void Consume(Http2Stream& stream, size_t count);

  // The peer asked for what it does not take: streams were given up.
  void CountStall() { Spend(Http2Flood::kStall); }
  void Ping();

  // The output: about `limit` bytes of it, in pieces that are valid until the callback ends.
  std::span<const std::string_view> Pull(Arena& scratch, size_t limit);
  bool has_output() const;
  // The callback ends, and output that is small is pulled when the turn does: copies what is lent
  // to `scratch`, which lasts until then. Otherwise, and then, KeepLent copies what was not pulled.
  void HoldLent(Arena& scratch);
  void KeepLent();

  // No new streams: GOAWAY with the highest id, then, after a round trip, with the last one (RFC
  // 9113 6.8). Streams that are open go on.
  void BeginDrain();
  void EndDrain();                      // does not wait for the round trip any longer
  void Terminate(Http2ErrorCode code);  // GOAWAY, then nothing: finished() when it is pulled

  bool finished() const;  // nothing is to come and nothing to send: close
  bool established() const { return established_; }  // the peer's SETTINGS have come
  bool in_head() const { return meter_.in_head(); }  // a head has begun and is not complete
  uint64_t heads_received() const { return heads_received_; }
  Http2Flood flood() const { return flood_; }  // why the codec has ended the connection
  size_t open_streams() const { return open_streams_; }
  bool can_open_stream() const;  // client role

 private:
  struct Callbacks;  // these hide nghttp2
  struct OutputCallbacks;
  struct SessionDeleter {
    void operator()(nghttp2_session* session) const;
  };

  static void RegisterOutput(nghttp2_session_callbacks* set);
  void Configure();
  Http2Stream& OpenStream(int32_t id);
  void StartFields(Http2Stream& stream);
  void OnField(Http2Stream& stream, std::string_view name, std::string_view value);
  void OnHead(Http2Stream& stream, bool ended);
  void OnRequestHead(Http2Stream& stream, bool ended);
  void OnResponseHead(Http2Stream& stream, bool ended);
  void AnnounceHead(Http2Stream& stream);
  void OnBody(Http2Stream& stream, std::string_view bytes, bool ended);
  void OnMessageEnd(Http2Stream& stream);
  void OnPong(uint8_t mark);
  void OnGoawaySent();
  void OnStreamClosed(Http2Stream& stream, uint32_t code);
  void OnMalformed(Http2Stream& stream, std::string_view why);
  void Refuse(Http2Stream& stream, Error error);
  void Reject(Http2Stream& stream, Error error);  // malformed
  void RejectLength(Http2Stream& stream);
  void Spend(Http2Flood kind);
  void Fail(Http2Flood flood);
  void Append(std::string_view bytes);  // to the output; copies
  void AppendBody(Http2Stream& stream, std::string_view frame_head, size_t size);
  void Touch(Http2Stream& stream);
  void Resume(Http2Stream& stream);
  void FreeRetired();

  const Role role_;
  const CodecLimits& limits_;
  const Http2Limits& http2_limits_;
  Http2StreamPool& pool_;
  std::unique_ptr<nghttp2_session, SessionDeleter> session_;
  Http2FrameMeter meter_;
  Http2StreamIds ids_;
  MonoTime now_{};
  Http2Flood flood_ = Http2Flood::kNone;
  size_t open_streams_ = 0;
  bool broken_ = false;  // the parser takes no more
  bool draining_ = false;
  bool drain_ping_sent_ = false;
  bool drained_ = false;  // the last GOAWAY is submitted
  bool established_ = false;
  uint64_t heads_received_ = 0;
  Http2Stream* head_stream_ = nullptr;  // whose fields came last
  Http2FieldCollector collector_;       // of them: no other head comes in between
  std::vector<Http2Event> events_;
  size_t next_event_ = 0;
  IntrusiveList<Http2Stream> streams_;  // all; freed from retired_, or with the codec
  std::vector<Http2Stream*> touched_;
  std::vector<Http2Stream*> retired_;  // kClosed was taken
  Arena* scratch_ = nullptr;           // while pulling
  std::vector<std::string_view> output_;
  size_t output_size_ = 0;
  size_t output_limit_ = 0;
};

}  // namespace sluice
