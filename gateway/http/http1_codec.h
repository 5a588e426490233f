// HTTP/1.x bytes to events, for either role: RequestDecoder reads requests from a client,
// ResponseDecoder reads responses from an upstream. llhttp (strict) parses heads; bodies of known
// length bypass it; chunks are decoded here, because llhttp accepts and refuses the wrong ones.
// Owned by a connection; lives as long as it. Head views stay valid until Reset() or the next
// message: the decoder keeps its own copy of the head bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/codec.h"
#include "gateway/http/message.h"

namespace sluice {

class Http1HeadParser;  // hides llhttp

// Decodes the chunked transfer coding (RFC 9112 7.1), strictly: CRLF only, bounded extensions,
// no overflow. Also used alone by tests and fuzzers.
class ChunkedDecoder {
 public:
  void Reset();
  // Takes bytes from the front of `input`. kData: data() is set; kEnd: body and trailers are done.
  CodecEvent Next(std::string_view& input, const CodecLimits& limits);
  std::string_view data() const { return data_; }
  const HeaderList& trailers() const { return trailers_; }
  const Error& error() const { return error_; }

 private:
  enum class State : uint8_t {
    kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf, kTrailer, kDone, kFailed
  };
  CodecEvent Fail(std::string detail);
  CodecEvent ReadTrailers(std::string_view& input, const CodecLimits& limits);

  State state_ = State::kSize;
  uint8_t digits_ = 0;
  bool in_quotes_ = false;
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

  // Consumes bytes from the front of `input` until one event is complete. After kEnd the decoder
  // stands still until StartMessage(): bytes behind the end belong to the next message.
  CodecEvent Next(std::string_view& input);

  // The peer has closed its side. kEnd for a body that ends by close, kNeedMore when nothing was
  // begun (a clean end), kError when a message was cut short.
  CodecEvent OnEof();

  // Begins the next message; views of the last one end here. `request_method` tells a client-role
  // decoder which bodies cannot exist (HEAD, CONNECT); a server ignores it. Gives the head's memory
  // back when `idle`.
  void StartMessage(Method request_method = Method::kGet);
  void ReleaseMemory();  // between messages only

  bool between_messages() const;  // no byte of the current message has come yet
  bool in_head() const;           // some bytes have, but the head is not complete

  const RequestHead& request() const { return request_; }     // after kHead, server role
  RequestHead& request() { return request_; }
  const ResponseHead& response() const { return response_; }  // after kHead, client role
  ResponseHead& response() { return response_; }
  std::string_view data() const { return data_; }
  const HeaderList& trailers() const { return chunked_.trailers(); }
  const Error& error() const { return error_; }

 private:
  enum class State : uint8_t { kIdle, kHead, kLength, kChunked, kUntilClose, kEndDue, kDone, kFailed };

  CodecEvent ReadHead(std::string_view& input);
  CodecEvent FinishHead();
  CodecEvent Fail(Error error);

  const Role role_;
  State state_ = State::kIdle;
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
