#include "gateway/http/http1_codec.h"

#include <algorithm>
#include <string>
#include <utility>

#include "gateway/http/excerpt.h"
#include "gateway/http/http1_head_parser.h"
#include "gateway/http/hygiene.h"

namespace sluice {

Http1Decoder::Http1Decoder(Role role, const CodecLimits& limits)
    : role_(role), limits_(limits), parser_(std::make_unique<Http1HeadParser>(role, limits)) {}

Http1Decoder::~Http1Decoder() = default;

CodecEvent Http1Decoder::Next(std::string_view& input) {
  switch (state_) {
    case State::kIdle:
    case State::kHead:
      return ReadHead(input);
    case State::kLength:
    case State::kUntilClose:
      return ReadBody(input);
    case State::kChunked:
      return ReadChunked(input);
    case State::kEndDue:
      state_ = State::kDone;
      return CodecEvent::kEnd;
    case State::kDone:
      return CodecEvent::kNeedMore;
    case State::kFailed:
      break;
  }
  return CodecEvent::kError;
}

CodecEvent Http1Decoder::ReadHead(std::string_view& input) {
  if (state_ == State::kIdle) {
    if (role_ == Role::kServer && SkipEmptyLines(input) == CodecEvent::kError) {
      return CodecEvent::kError;
    }
    if (input.empty()) return CodecEvent::kNeedMore;
    state_ = State::kHead;
  }
  switch (parser_->Read(input)) {
    case Http1HeadParser::Progress::kNeedMore:
      return CodecEvent::kNeedMore;
    case Http1HeadParser::Progress::kFailed:
      return Fail(parser_->error());
    case Http1HeadParser::Progress::kComplete:
      break;
  }
  return FinishHead();
}

// RFC 9112 2.2: a server ignores an empty line before the request line; some clients end a body
// with one too many. A few only, or a client could hold a connection with them.
CodecEvent Http1Decoder::SkipEmptyLines(std::string_view& input) {
  constexpr uint8_t kMostBytes = 8;
  while (!input.empty() && (input.front() == '\r' || empty_line_bytes_ % 2 == 1)) {
    const char expected = empty_line_bytes_ % 2 == 0 ? '\r' : '\n';
    if (input.front() != expected || empty_line_bytes_ == kMostBytes) {
      return Fail(ClientError(ErrorCode::kMalformedRequest,
                              "expected a request line, got " + Excerpt(input.substr(0, 1))));
    }
    ++empty_line_bytes_;
    input.remove_prefix(1);
  }
  return CodecEvent::kNeedMore;
}

CodecEvent Http1Decoder::FinishHead() {
  const bool server = role_ == Role::kServer;
  if (Status status = server ? FinishRequest() : FinishResponse(); !status) {
    return Fail(std::move(status).error());
  }
  const BodyFraming& body = server ? request_.body : response_.body;
  switch (body.kind) {
    case BodyFraming::Kind::kNone:
      state_ = State::kEndDue;
      break;
    case BodyFraming::Kind::kLength:
      left_ = body.length;
      state_ = left_ > 0 ? State::kLength : State::kEndDue;
      break;
    case BodyFraming::Kind::kChunked:
      state_ = State::kChunked;
      break;
    case BodyFraming::Kind::kUntilClose:
      state_ = State::kUntilClose;
      break;
  }
  return CodecEvent::kHead;
}

Status Http1Decoder::FinishRequest() {
  if (parser_->SplitFields(request_.fields) == Http1HeadParser::Progress::kFailed) {
    return parser_->error();
  }
  request_.method_text = parser_->method();
  request_.method = FindMethod(request_.method_text);
  request_.target = parser_->target();
  request_.version = parser_->version();
  return CheckRequest(request_);
}

Status Http1Decoder::FinishResponse() {
  if (parser_->SplitFields(response_.fields) == Http1HeadParser::Progress::kFailed) {
    return parser_->error();
  }
  response_.status = parser_->status();
  response_.reason = parser_->reason();
  response_.version = parser_->version();
  SLUICE_TRY(CheckResponse(response_, request_method_));
  if (response_.status >= 200 || response_.status == 101) {
    informational_ = 0;
  } else if (++informational_ > limits_.informational) {
    return UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                         "expected at most " + std::to_string(limits_.informational) +
                             " informational responses, got more");
  }
  return {};
}

CodecEvent Http1Decoder::ReadBody(std::string_view& input) {
  if (input.empty()) return CodecEvent::kNeedMore;
  if (state_ == State::kUntilClose) {
    data_ = std::exchange(input, {});
    return CodecEvent::kData;
  }
  data_ = input.substr(0, std::min<uint64_t>(left_, input.size()));
  input.remove_prefix(data_.size());
  left_ -= data_.size();
  if (left_ == 0) state_ = State::kEndDue;
  return CodecEvent::kData;
}

CodecEvent Http1Decoder::ReadChunked(std::string_view& input) {
  const CodecEvent event = chunked_.Next(input, limits_);
  if (event == CodecEvent::kData) data_ = chunked_.data();
  if (event == CodecEvent::kEnd) state_ = State::kDone;
  if (event != CodecEvent::kError) return event;
  if (role_ == Role::kServer) return Fail(chunked_.error());
  const bool too_large = chunked_.error().code == ErrorCode::kHeadersTooLarge;
  return Fail(
      UpstreamError(too_large ? ErrorCode::kResponseHeadTooLarge : ErrorCode::kInvalidResponse,
                    Retry::kNever, chunked_.error().detail));
}

CodecEvent Http1Decoder::OnEof() {
  switch (state_) {
    case State::kUntilClose:
      state_ = State::kDone;
      return CodecEvent::kEnd;
    case State::kIdle:
    case State::kDone:
      return CodecEvent::kNeedMore;
    case State::kEndDue:
      state_ = State::kDone;
      return CodecEvent::kEnd;
    case State::kFailed:
      return CodecEvent::kError;
    case State::kHead:
    case State::kLength:
    case State::kChunked:
      break;
  }
  const bool head = state_ == State::kHead;
  std::string detail = head ? "expected the rest of the head, got the end of the connection"
                            : "expected the rest of the body, got the end of the connection";
  if (role_ == Role::kServer) {
    return Fail(ClientError(ErrorCode::kClientClosed, std::move(detail)));
  }
  return Fail(UpstreamError(head ? ErrorCode::kUpstreamClosed : ErrorCode::kResponseTruncated,
                            Retry::kNever, std::move(detail)));
}

void Http1Decoder::StartMessage(Method request_method) {
  state_ = State::kIdle;
  empty_line_bytes_ = 0;
  left_ = 0;
  request_method_ = request_method;
  data_ = {};
  // Its views would dangle in what is logged of a request that fails before its head is complete.
  role_ == Role::kServer ? ForgetHead(request_) : ForgetHead(response_);
  parser_->Start();
  chunked_.Reset();
}

void Http1Decoder::ReleaseMemory() {
  SLUICE_CHECK(between_messages());
  parser_->ReleaseMemory();
  chunked_.ReleaseMemory();
  request_ = RequestHead();
  response_ = ResponseHead();
}

bool Http1Decoder::between_messages() const { return state_ == State::kIdle; }

bool Http1Decoder::in_head() const { return state_ == State::kHead; }

CodecEvent Http1Decoder::Fail(Error error) {
  error_ = std::move(error);
  state_ = State::kFailed;
  return CodecEvent::kError;
}

}  // namespace sluice
