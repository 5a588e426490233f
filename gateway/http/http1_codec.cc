#include "gateway/http/http1_codec.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include <llhttp.h>

#include "gateway/http/excerpt.h"
#include "gateway/http/http1_start_line.h"
#include "gateway/http/hygiene.h"

namespace sluice {
namespace {

// A field line as llhttp reported it, by offsets into the head: the bytes may still move.
struct FieldSpan {
  uint32_t name = 0;
  uint32_t name_size = 0;
  uint32_t value = 0;
  uint32_t value_size = 0;
};

constexpr bool IsOws(char c) { return c == ' ' || c == '\t'; }

}  // namespace

// Collects one head: finds the first line itself, lets llhttp find the fields, and then checks that
// the fields llhttp found cover the head without a gap:
//
//   start line CR LF { name ':' OWS value OWS CR LF } CR LF
//
// so that nothing that llhttp tolerates (folded lines, bare CR or LF) gets through.
class Http1HeadParser {
 public:
  enum class Progress : uint8_t { kNeedMore, kComplete, kFailed };
  using Role = Http1Decoder::Role;

  Http1HeadParser(Role role, const CodecLimits& limits) : role_(role), limits_(limits) { Start(); }

  void Start();
  void ReleaseMemory();
  Progress Read(std::string_view& input);

  // After kComplete. Views into this parser, until Start().
  std::string_view method() const { return View(0, method_size_); }
  std::string_view target() const;
  std::string_view reason() const;
  HttpVersion version() const { return version_; }
  int status() const { return status_; }
  Progress CopyFields(HeaderList& fields);

  const Error& error() const { return error_; }

 private:
  friend int OnName(llhttp_t* parser, const char* at, size_t size) noexcept;
  friend int OnValue(llhttp_t* parser, const char* at, size_t size) noexcept;

  Progress ReadStartLine(std::string_view& input);
  Progress ParseStartLine();
  Progress ReadFields(std::string_view& input);
  bool TakeName(uint32_t offset, uint32_t size);
  bool TakeValue(uint32_t offset, uint32_t size);
  uint32_t OffsetOf(const char* at) const;
  std::string_view View(size_t offset, size_t size) const { return {head_.data() + offset, size}; }
  bool is_server() const { return role_ == Role::kServer; }
  Progress Fail(Error error);
  Progress FailMalformed(std::string detail);
  Progress FailTooLarge();
  Progress FailParser();

  const Role role_;
  bool has_start_line_ = false;
  bool in_value_ = false;  // the last span was (a part of) a value
  HttpVersion version_ = HttpVersion::kHttp11;
  const CodecLimits& limits_;
  uint32_t start_line_size_ = 0;  // without CR LF
  uint32_t method_size_ = 0;
  int status_ = 0;
  const char* chunk_ = nullptr;  // what llhttp is reading
  std::string head_;
  std::vector<FieldSpan> spans_;
  llhttp_t parser_;
  Error error_;
};

int OnName(llhttp_t* parser, const char* at, size_t size) noexcept {
  auto* self = static_cast<Http1HeadParser*>(parser->data);
  return self->TakeName(self->OffsetOf(at), static_cast<uint32_t>(size)) ? 0 : -1;
}

int OnValue(llhttp_t* parser, const char* at, size_t size) noexcept {
  auto* self = static_cast<Http1HeadParser*>(parser->data);
  return self->TakeValue(self->OffsetOf(at), static_cast<uint32_t>(size)) ? 0 : -1;
}

namespace {

int OnHeadersComplete(llhttp_t* /*parser*/) noexcept { return HPE_PAUSED; }

// A parser that has just read a first line: each head starts as a copy of it. Lenient only where
// CheckRequest and CheckResponse decide, with better knowledge and messages.
llhttp_t MakeParserBehindStartLine() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t out;
    llhttp_settings_init(&out);
    out.on_header_field = OnName;
    out.on_header_value = OnValue;
    out.on_headers_complete = OnHeadersComplete;
    return out;
  }();
  constexpr std::string_view kStartLine = "GET / HTTP/1.1\r\n";
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  llhttp_set_lenient_chunked_length(&parser, 1);
  llhttp_set_lenient_transfer_encoding(&parser, 1);
  SLUICE_CHECK(llhttp_execute(&parser, kStartLine.data(), kStartLine.size()) == HPE_OK);
  return parser;
}

}  // namespace

void Http1HeadParser::Start() {
  static const llhttp_t prepared = MakeParserBehindStartLine();
  parser_ = prepared;
  parser_.data = this;
  has_start_line_ = in_value_ = false;
  start_line_size_ = 0;
  head_.clear();
  spans_.clear();
}

void Http1HeadParser::ReleaseMemory() {
  head_ = std::string();
  spans_ = std::vector<FieldSpan>();
}

Http1HeadParser::Progress Http1HeadParser::Read(std::string_view& input) {
  if (!has_start_line_) {
    const Progress progress = ReadStartLine(input);
    if (progress != Progress::kComplete) return progress;
  }
  return ReadFields(input);
}

// Appends to head_ up to the first LF.
Http1HeadParser::Progress Http1HeadParser::ReadStartLine(std::string_view& input) {
  const size_t limit = is_server() ? std::min(limits_.request_line, limits_.head) : limits_.head;
  const size_t newline = input.find('\n');
  const bool whole = newline != input.npos;
  const size_t size = whole ? newline + 1 : input.size();
  if (head_.size() + size > limit) {
    if (!is_server()) return FailTooLarge();
    return Fail(ClientError(ErrorCode::kUriTooLong, "expected a request line of at most " +
                                                        std::to_string(limit) +
                                                        " bytes, got a longer one"));
  }
  head_ += input.substr(0, size);
  input.remove_prefix(size);
  if (!whole) {
    if (!is_server() || MayBeginRequestLine(head_)) return Progress::kNeedMore;
    return Fail(ParseRequestLine(head_).error());
  }
  if (!std::string_view(head_).ends_with("\r\n")) {
    return FailMalformed("expected CR LF after the first line, got LF alone");
  }
  start_line_size_ = static_cast<uint32_t>(head_.size() - 2);
  has_start_line_ = true;
  return ParseStartLine();
}

// At once, not with the rest of the head: an HTTP/0.9 client waits for its answer now. Kept as
// sizes, because head_ still grows.
Http1HeadParser::Progress Http1HeadParser::ParseStartLine() {
  const std::string_view line = View(0, start_line_size_);
  if (is_server()) {
    const Result<RequestLine> request = ParseRequestLine(line);
    if (!request) return Fail(request.error());
    method_size_ = static_cast<uint32_t>(request->method.size());
    version_ = request->version;
  } else {
    const Result<StatusLine> response = ParseStatusLine(line);
    if (!response) return Fail(response.error());
    status_ = response->status;
    version_ = response->version;
  }
  return Progress::kComplete;
}

// "METHOD target HTTP/1.1"
std::string_view Http1HeadParser::target() const {
  constexpr size_t kVersionSize = 9;
  return View(method_size_ + 1, start_line_size_ - method_size_ - 1 - kVersionSize);
}

// "HTTP/1.1 200 reason"
std::string_view Http1HeadParser::reason() const {
  constexpr size_t kReasonStart = 13;
  if (start_line_size_ <= kReasonStart) return {};
  return View(kReasonStart, start_line_size_ - kReasonStart);
}

Http1HeadParser::Progress Http1HeadParser::ReadFields(std::string_view& input) {
  const std::string_view chunk = input.substr(0, limits_.head - head_.size());
  chunk_ = chunk.data();
  const llhttp_errno_t result = llhttp_execute(&parser_, chunk.data(), chunk.size());
  if (result == HPE_OK) {
    head_ += chunk;
    input.remove_prefix(chunk.size());
    return head_.size() < limits_.head ? Progress::kNeedMore : FailTooLarge();
  }
  if (result != HPE_PAUSED) return FailParser();
  const auto consumed = static_cast<size_t>(llhttp_get_error_pos(&parser_) - chunk.data());
  head_ += chunk.substr(0, consumed);
  input.remove_prefix(consumed);
  return Progress::kComplete;
}

uint32_t Http1HeadParser::OffsetOf(const char* at) const {
  return static_cast<uint32_t>(head_.size() + static_cast<size_t>(at - chunk_));
}

// A span that was cut by the end of the input comes in several calls.
bool Http1HeadParser::TakeName(uint32_t offset, uint32_t size) {
  if (!spans_.empty() && spans_.back().name + spans_.back().name_size == offset) {
    spans_.back().name_size += size;
    return true;
  }
  if (spans_.size() == limits_.fields) return false;
  in_value_ = false;
  spans_.push_back({.name = offset, .name_size = size});
  return true;
}

bool Http1HeadParser::TakeValue(uint32_t offset, uint32_t size) {
  FieldSpan& span = spans_.back();
  if (!in_value_) {
    in_value_ = true;
    span.value = offset;
  }
  // The parts of a folded value are not adjacent; CopyFields then finds the gap.
  if (span.value + span.value_size == offset) span.value_size += size;
  return true;
}

Http1HeadParser::Progress Http1HeadParser::CopyFields(HeaderList& fields) {
  fields.Clear();
  const std::string_view head = head_;  // ends with CR LF CR LF, so one past a line is no overrun
  size_t at = start_line_size_ + 2;
  for (const FieldSpan& span : spans_) {
    const size_t colon = span.name + span.name_size;
    // The span of an empty value lies behind its line end.
    size_t value = span.value_size == 0 ? colon + 1 : span.value;
    size_t end = value + span.value_size;
    bool adjacent = span.name == at && span.name_size > 0 && head[colon] == ':' && value > colon;
    for (size_t i = colon + 1; i < value; ++i) adjacent = adjacent && IsOws(head[i]);
    at = end;
    while (at < head.size() && IsOws(head[at])) ++at;
    if (!adjacent || head.substr(at, 2) != "\r\n") {
      return FailMalformed("expected a field line 'name: value' CR LF, got " +
                           Excerpt(head.substr(span.name)));
    }
    at += 2;
    while (value < end && IsOws(head[value])) ++value;
    while (end > value && IsOws(head[end - 1])) --end;
    fields.Add(View(span.name, span.name_size), View(value, end - value));
  }
  if (head.substr(at) == "\r\n") return Progress::kComplete;
  return FailMalformed("expected an empty line after the fields, got " + Excerpt(head.substr(at)));
}

Http1HeadParser::Progress Http1HeadParser::Fail(Error error) {
  error_ = std::move(error);
  return Progress::kFailed;
}

Http1HeadParser::Progress Http1HeadParser::FailMalformed(std::string detail) {
  if (is_server()) return Fail(ClientError(ErrorCode::kMalformedRequest, std::move(detail)));
  return Fail(UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever, std::move(detail)));
}

Http1HeadParser::Progress Http1HeadParser::FailTooLarge() {
  std::string detail =
      "expected a head of at most " + std::to_string(limits_.head) + " bytes, got a larger one";
  if (is_server()) return Fail(ClientError(ErrorCode::kHeadersTooLarge, std::move(detail)));
  return Fail(UpstreamError(ErrorCode::kResponseHeadTooLarge, Retry::kNever, std::move(detail)));
}

Http1HeadParser::Progress Http1HeadParser::FailParser() {
  switch (llhttp_get_errno(&parser_)) {
    case HPE_USER: {  // only TakeName refuses
      std::string detail =
          "expected at most " + std::to_string(limits_.fields) + " fields, got more";
      if (is_server()) return Fail(ClientError(ErrorCode::kHeadersTooLarge, std::move(detail)));
      return Fail(
          UpstreamError(ErrorCode::kResponseHeadTooLarge, Retry::kNever, std::move(detail)));
    }
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING: {
      std::string detail = "expected one valid Content-Length or Transfer-Encoding, got: ";
      detail += llhttp_get_error_reason(&parser_);
      if (is_server()) return Fail(ClientError(ErrorCode::kBadFraming, std::move(detail)));
      return FailMalformed(std::move(detail));
    }
    default:
      return FailMalformed(std::string("expected field lines 'name: value' CR LF, got: ") +
                           llhttp_get_error_reason(&parser_));
  }
}

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
  if (parser_->CopyFields(request_.fields) == Http1HeadParser::Progress::kFailed) {
    return parser_->error();
  }
  request_.method_text = parser_->method();
  request_.method = FindMethod(request_.method_text);
  request_.target = parser_->target();
  request_.version = parser_->version();
  return CheckRequest(request_);
}

Status Http1Decoder::FinishResponse() {
  if (parser_->CopyFields(response_.fields) == Http1HeadParser::Progress::kFailed) {
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
