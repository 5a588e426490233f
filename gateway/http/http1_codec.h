// HTTP/1.x bytes to events, for either role: a server-role decoder reads requests from a client, a
// client-role one reads responses from an upstream. llhttp (strict) parses the fields of heads;
// bodies of known length bypass it; chunks are decoded here, because llhttp accepts and refuses the
// wrong ones. Owned by a connection; lives as long as it. Head views stay valid until the next
// message starts: the decoder keeps its own copy of the head bytes, in which each field line lies
// as it came.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/codec.h"
#include "gateway/http/message.h"

namespace sluice {

class Http1HeadParser;  // hides llhttp

// Decodes the chunked transfer coding (RFC 9112 7.1), strictly: CRLF only, bounded extensions,
// no overflow. Also used alone by tests and fuzzers. Its errors are those of a request.
class ChunkedDecoder {
 public:
  void Reset();  // keeps the memory of the trailers for the next body
  void ReleaseMemory();
  // Takes bytes from the front of `input`. kData: data() is set; kEnd: body and trailers are done,
  // and the bytes behind are not touched. Trailers are views into the decoder.
  CodecEvent Next(std::string_view& input, const CodecLimits& limits);
  std::string_view data() const { return data_; }
  const HeaderList& trailers() const { return trailers_; }
  const Error& error() const { return error_; }

 private:
  enum class State : uint8_t {
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kDone,
    kFailed
  };
  CodecEvent Fail(ErrorCode code, std::string detail);
  CodecEvent TakeData(std::string_view& input);
  CodecEvent ReadTrailers(std::string_view& input, const CodecLimits& limits);
  // These look at one byte. kNeedMore: go on with the next.
  CodecEvent OnFramingByte(char c, const CodecLimits& limits);
  CodecEvent OnSizeByte(char c);
  CodecEvent OnExtensionByte(char c, const CodecLimits& limits);
  CodecEvent ParseTrailers();

  State state_ = State::kSize;
  uint8_t digits_ = 0;
  bool after_space_ = false;  // between the size and ';' only white space came
  bool in_quotes_ = false;
  bool escaped_ = false;
  uint64_t left_ = 0;
  uint32_t extension_line_ = 0;
  uint32_t extensions_ = 0;
  std::string_view data_;
  std::string trailer_bytes_;
  HeaderList trailers_;
  Error error_;
};

class Http1Decoder {
 public:
  enum class Role : uint8_t { kServer, kClient };  // a server decodes requests

  Http1Decoder(Role role, const CodecLimits& limits);
  ~Http1Decoder();
  Http1Decoder(const Http1Decoder&) = delete;
  Http1Decoder& operator=(const Http1Decoder&) = delete;

  // Consumes bytes from the front of `input` until one event is complete. Each message is kHead,
  // any number of kData, kEnd – also one without a body, whose kEnd comes on the next call, even
  // with empty input. So call until kNeedMore. After kEnd the decoder stands still (kNeedMore, and
  // nothing is consumed) until StartMessage(): bytes behind the end belong to the next message, or
  // to a tunnel after 101.
  // A 1xx response is a message of its own: kHead, kEnd; then the owner calls StartMessage with the
  // same method and the final response follows. Too many of them in a row are an error.
  CodecEvent Next(std::string_view& input);

  // The peer has closed its side. kEnd for a body that ends by close, kNeedMore when nothing was
  // begun or all was done (a clean end), kError when a message was cut short: kClientClosed,
  // kUpstreamClosed inside a head, kResponseTruncated inside a body.
  CodecEvent OnEof();

  // Begins the next message; views of the last one end here. `request_method` tells a client-role
  // decoder which bodies cannot exist (HEAD, CONNECT); a server ignores it. Keeps all memory.
  void StartMessage(Method request_method = Method::kGet);

  // Gives the memory of the last head and trailers back, for a connection that goes idle; the next
  // message allocates it again. Only while between_messages().
  void ReleaseMemory();

  // For an owner that moves body bytes past the decoder: how many of a body of known length are
  // still to come (0 in any other state), and that `count` of them went by. The next call of Next
  // goes on behind them. Precondition: count <= body_left().
  uint64_t body_left() const { return state_ == State::kLength ? left_ : 0; }
  void SkipBody(uint64_t count) {
    left_ -= count;
    if (left_ == 0) state_ = State::kEndDue;
  }

  Role role() const { return role_; }
  bool between_messages() const;  // no byte of the current message has come yet
  bool in_head() const;           // some bytes have, but the head is not complete
  // Not even of an empty line in front of a message, which is that peer's: any other may have this.
  bool is_fresh() const { return between_messages() && empty_line_bytes_ == 0; }

  const RequestHead& request() const { return request_; }  // after kHead, server role
  RequestHead& request() { return request_; }
  const ResponseHead& response() const { return response_; }  // after kHead, client role
  ResponseHead& response() { return response_; }
  std::string_view data() const { return data_; }
  const HeaderList& trailers() const { return chunked_.trailers(); }
  const Error& error() const { return error_; }

 private:
  enum class State : uint8_t {
    kIdle,
    kHead,
    kLength,
    kChunked,
    kUntilClose,
    kEndDue,
    kDone,
    kFailed
  };

  CodecEvent ReadHead(std::string_view& input);
  CodecEvent SkipEmptyLines(std::string_view& input);
  CodecEvent FinishHead();
  Status FinishRequest();
  Status FinishResponse();
  CodecEvent ReadBody(std::string_view& input);
  CodecEvent ReadChunked(std::string_view& input);
  CodecEvent Fail(Error error);

  const Role role_;
  State state_ = State::kIdle;
  uint8_t empty_line_bytes_ = 0;  // CR and LF skipped before a request line
  const CodecLimits& limits_;
  uint64_t left_ = 0;
  Method request_method_ = Method::kGet;
  uint32_t informational_ = 0;
  std::unique_ptr<Http1HeadParser> parser_;
  RequestHead request_;
  ResponseHead response_;
  ChunkedDecoder chunked_;
  std::string_view data_;
  Error error_;
};

}  // namespace sluice
