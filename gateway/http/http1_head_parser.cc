#include "gateway/http/http1_head_parser.h"

#include <algorithm>
#include <utility>

#include <llhttp.h>

#include "gateway/http/excerpt.h"
#include "gateway/http/http1_start_line.h"

namespace sluice {
namespace {

constexpr size_t kUsualHead = 1000;
constexpr size_t kUsualFields = 16;

constexpr bool IsOws(char c) { return c == ' ' || c == '\t'; }

int OnName(llhttp_t* parser, const char* at, size_t size) noexcept {
  return static_cast<Http1HeadParser*>(parser->data)->OnName(at, size) ? 0 : -1;
}

int OnValue(llhttp_t* parser, const char* at, size_t size) noexcept {
  static_cast<Http1HeadParser*>(parser->data)->OnValue(at, size);
  return 0;
}

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

Http1HeadParser::Http1HeadParser(Role role, const CodecLimits& limits)
    : role_(role), limits_(limits), parser_(std::make_unique<llhttp_t>()) {
  Start();
}

Http1HeadParser::~Http1HeadParser() = default;

void Http1HeadParser::Start() {
  static const llhttp_t prepared = MakeParserBehindStartLine();
  *parser_ = prepared;
  parser_->data = this;
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
    if (!is_server()) return FailTooLarge(limits_.head, "bytes");
    return Fail(ClientError(ErrorCode::kUriTooLong, "expected a request line of at most " +
                                                        std::to_string(limit) +
                                                        " bytes, got a longer one"));
  }
  if (head_.empty()) {  // a few growths less, after ReleaseMemory
    head_.reserve(kUsualHead);
    spans_.reserve(kUsualFields);
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
  const llhttp_errno_t result = llhttp_execute(parser_.get(), chunk.data(), chunk.size());
  if (result == HPE_OK) {
    head_ += chunk;
    input.remove_prefix(chunk.size());
    return head_.size() < limits_.head ? Progress::kNeedMore : FailTooLarge(limits_.head, "bytes");
  }
  if (result != HPE_PAUSED) return FailParser();
  const auto consumed = static_cast<size_t>(llhttp_get_error_pos(parser_.get()) - chunk.data());
  head_ += chunk.substr(0, consumed);
  input.remove_prefix(consumed);
  return Progress::kComplete;
}

uint32_t Http1HeadParser::OffsetOf(const char* at) const {
  return static_cast<uint32_t>(head_.size() + static_cast<size_t>(at - chunk_));
}

// A span that was cut by the end of the input comes in several calls.
bool Http1HeadParser::OnName(const char* at, size_t count) {
  const uint32_t offset = OffsetOf(at);
  const auto size = static_cast<uint32_t>(count);
  if (!spans_.empty() && spans_.back().name + spans_.back().name_size == offset) {
    spans_.back().name_size += size;
    return true;
  }
  if (spans_.size() == limits_.fields) return false;
  in_value_ = false;
  spans_.push_back({.name = offset, .name_size = size});
  return true;
}

void Http1HeadParser::OnValue(const char* at, size_t count) {
  const uint32_t offset = OffsetOf(at);
  FieldSpan& span = spans_.back();
  if (!in_value_) {
    in_value_ = true;
    span.value = offset;
  }
  // The parts of a folded value are not adjacent; CopyFields then finds the gap.
  if (span.value + span.value_size == offset) span.value_size += static_cast<uint32_t>(count);
}

Http1HeadParser::Progress Http1HeadParser::CopyFields(HeaderList& fields) {
  fields.Clear();
  fields.Reserve(spans_.size());
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

Http1HeadParser::Progress Http1HeadParser::FailTooLarge(uint32_t limit, std::string_view unit) {
  std::string detail = "expected a head of at most " + std::to_string(limit) + " ";
  detail += unit;
  detail += ", got more";
  if (is_server()) return Fail(ClientError(ErrorCode::kHeadersTooLarge, std::move(detail)));
  return Fail(UpstreamError(ErrorCode::kResponseHeadTooLarge, Retry::kNever, std::move(detail)));
}

Http1HeadParser::Progress Http1HeadParser::FailParser() {
  switch (llhttp_get_errno(parser_.get())) {
    case HPE_USER:  // only OnName refuses
      return FailTooLarge(limits_.fields, "fields");
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING: {
      std::string detail = "expected one valid Content-Length or Transfer-Encoding, got: ";
      detail += llhttp_get_error_reason(parser_.get());
      if (is_server()) return Fail(ClientError(ErrorCode::kBadFraming, std::move(detail)));
      return FailMalformed(std::move(detail));
    }
    default:
      return FailMalformed(std::string("expected field lines 'name: value' CR LF, got: ") +
                           llhttp_get_error_reason(parser_.get()));
  }
}

}  // namespace sluice
