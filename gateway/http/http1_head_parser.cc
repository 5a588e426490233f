#include "gateway/http/http1_head_parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <llhttp.h>

#include "gateway/http/excerpt.h"
#include "gateway/http/http1_start_line.h"

namespace sluice {
namespace {

constexpr size_t kUsualHead = 1000;

constexpr bool IsOws(char c) { return c == ' ' || c == '\t'; }

size_t Distance(const char* from, const char* to) { return static_cast<size_t>(to - from); }

int OnHeadersComplete(llhttp_t* /*parser*/) noexcept { return HPE_PAUSED; }

// A parser that has just read a first line: each head starts as a copy of it. Lenient only where
// CheckRequest and CheckResponse decide, with better knowledge and messages.
llhttp_t MakeParserBehindStartLine() {
  static const llhttp_settings_t settings = [] {
    llhttp_settings_t out;
    llhttp_settings_init(&out);
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
  has_start_line_ = false;
  start_line_size_ = 0;
  head_.clear();
}

void Http1HeadParser::ReleaseMemory() { head_ = std::string(); }

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
  if (head_.empty()) head_.reserve(kUsualHead);
  const bool fits = size <= limit - head_.size();
  head_ += input.substr(0, fits ? size : limit - head_.size());
  input.remove_prefix(size);
  // Looked at even when the line is too long, so that the answer does not depend on the cuts.
  if ((!whole || !fits) && is_server() && !MayBeginRequestLine(head_)) {
    return Fail(ParseRequestLine(head_).error());
  }
  if (!fits) return FailStartLineTooLong(limit);
  if (!whole) return Progress::kNeedMore;
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

Http1HeadParser::Progress Http1HeadParser::SplitFields(HeaderList& fields) {
  fields.Clear();
  if (!std::string_view(head_).ends_with("\r\n\r\n")) {
    return FailMalformed("expected CR LF CR LF at the end of the head");
  }
  const char* line = head_.data() + start_line_size_ + 2;
  const char* const end = head_.data() + head_.size() - 2;
  while (line < end) {
    const auto* colon = static_cast<const char*>(std::memchr(line, ':', Distance(line, end)));
    const char* stop =
        colon == nullptr ? nullptr
                         : static_cast<const char*>(std::memchr(colon, '\r', Distance(colon, end)));
    // The name may still hold anything, such as lines without a colon; it is no token then.
    if (stop == nullptr || stop[1] != '\n') {
      return FailMalformed("expected a field line 'name: value' CR LF, got " +
                           Excerpt({line, Distance(line, end)}));
    }
    if (fields.size() == limits_.fields) return FailTooLarge(limits_.fields, "fields");
    const char* value = colon + 1;
    const char* value_end = stop;
    while (value < value_end && IsOws(*value)) ++value;
    while (value_end > value && IsOws(value_end[-1])) --value_end;
    fields.Add({line, Distance(line, colon)}, {value, Distance(value, value_end)});
    line = stop + 2;
  }
  return Progress::kComplete;
}

Http1HeadParser::Progress Http1HeadParser::Fail(Error error) {
  error_ = std::move(error);
  return Progress::kFailed;
}

Http1HeadParser::Progress Http1HeadParser::FailMalformed(std::string detail) {
  if (is_server()) return Fail(ClientError(ErrorCode::kMalformedRequest, std::move(detail)));
  return Fail(UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever, std::move(detail)));
}

Http1HeadParser::Progress Http1HeadParser::FailStartLineTooLong(size_t limit) {
  if (!is_server()) return FailTooLarge(limits_.head, "bytes");
  return Fail(ClientError(
      ErrorCode::kUriTooLong,
      "expected a request line of at most " + std::to_string(limit) + " bytes, got a longer one"));
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
