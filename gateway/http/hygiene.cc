#include "gateway/http/hygiene.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "gateway/base/address.h"
#include "gateway/base/text.h"
#include "gateway/http/characters.h"
#include "gateway/http/excerpt.h"

namespace sluice {
namespace {

// Beyond what a signed 64-bit counter holds nobody means it.
constexpr uint64_t kMaxContentLength = std::numeric_limits<int64_t>::max();

// The first field whose name or value breaks the grammar, or null. A well-known name is a token.
const HeaderField* FindBadField(const HeaderList& fields) {
  const auto bad = std::find_if(fields.begin(), fields.end(), [](const HeaderField& field) {
    return (field.id == HeaderId::kOther && !IsToken(field.name)) || !IsFieldValue(field.value);
  });
  return bad == fields.end() ? nullptr : &*bad;
}

std::string DescribeBadField(const HeaderField& field) {
  if (!IsToken(field.name)) return "expected a field name, got " + Excerpt(field.name);
  return "expected a value without control characters in field " + Excerpt(field.name) + ", got " +
         Excerpt(field.value);
}

// What a Transfer-Encoding list says about the framing.
enum class Coding : uint8_t { kChunked, kChunkedNotLast, kOtherThenChunked, kOther, kInvalid };

Coding ReadTransferEncoding(std::string_view list) {
  if (EqualsIgnoreCase(list, "chunked")) return Coding::kChunked;
  size_t chunked = 0;
  bool last = false;
  while (true) {
    const size_t end = list.find(',');
    const std::string_view coding = TrimOws(list.substr(0, end));
    if (!IsToken(coding)) return Coding::kInvalid;
    last = EqualsIgnoreCase(coding, "chunked");
    chunked += last ? 1 : 0;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  if (chunked == 0) return Coding::kOther;
  return last && chunked == 1 ? Coding::kOtherThenChunked : Coding::kChunkedNotLast;
}

Error BadFraming(std::string detail) {
  return ClientError(ErrorCode::kBadFraming, std::move(detail));
}

// RFC 9112 6.1 and 6.3; stricter where a proxy behind us could read it differently.
Status CheckRequestCoding(const RequestHead& head) {
  const std::string_view value = head.fields.Value(HeaderId::kTransferEncoding);
  if (head.version == HttpVersion::kHttp10) {
    return BadFraming("expected no Transfer-Encoding in an HTTP/1.0 request, got " +
                      Excerpt(value));
  }
  if (head.fields.Has(HeaderId::kContentLength)) {
    return BadFraming("expected Transfer-Encoding or Content-Length, got both");
  }
  if (head.fields.Count(HeaderId::kTransferEncoding) > 1) {
    return BadFraming("expected one Transfer-Encoding field, got several");
  }
  switch (ReadTransferEncoding(value)) {
    case Coding::kChunked:
      return {};
    case Coding::kOther:
    case Coding::kOtherThenChunked:
      return ClientError(ErrorCode::kUnknownTransferCoding,
                         "expected the transfer coding 'chunked' alone, got " + Excerpt(value));
    case Coding::kChunkedNotLast:
    case Coding::kInvalid:
      break;
  }
  return BadFraming("expected the transfer coding 'chunked', got " + Excerpt(value));
}

Status CheckRequestFraming(RequestHead& head) {
  const HeaderList& fields = head.fields;
  head.body = {};
  for (const HeaderField& field : fields) {
    if (field.id == HeaderId::kOther && IsFramingLookalike(field.name)) {
      return BadFraming("expected framing fields spelled with '-', got " + Excerpt(field.name));
    }
  }
  if (fields.Has(HeaderId::kTransferEncoding)) {
    SLUICE_TRY(CheckRequestCoding(head));
    head.body.kind = BodyFraming::Kind::kChunked;
    return {};
  }
  const HeaderField* length = fields.Find(HeaderId::kContentLength);
  if (length == nullptr) return {};
  if (fields.Count(HeaderId::kContentLength) > 1) {
    return BadFraming("expected one Content-Length field, got several");
  }
  const std::optional<uint64_t> bytes = ParseContentLength(length->value);
  if (!bytes) {
    return BadFraming("expected a Content-Length of decimal digits, got " + Excerpt(length->value));
  }
  head.body = {BodyFraming::Kind::kLength, *bytes};
  return {};
}

// RFC 9112 9.3. `close` wins over `keep-alive`.
bool KeepsAlive(const HeaderList& fields, HttpVersion version) {
  const bool by_default = version != HttpVersion::kHttp10;
  if (!fields.Has(HeaderId::kConnection)) return by_default;
  bool keep_alive = by_default;
  for (const HeaderField& field : fields) {
    if (field.id != HeaderId::kConnection) continue;
    if (ListContains(field.value, "close")) return false;
    keep_alive = keep_alive || ListContains(field.value, "keep-alive");
  }
  return keep_alive;
}

// RFC 9112 3.2.
Status CheckHost(RequestHead& head) {
  const HeaderField* host = head.fields.Find(HeaderId::kHost);
  if (host == nullptr) {
    if (head.version != HttpVersion::kHttp11) return {};
    return ClientError(ErrorCode::kBadHost, "expected a Host field, got none");
  }
  if (head.fields.Count(HeaderId::kHost) > 1) {
    return ClientError(ErrorCode::kBadHost, "expected one Host field, got several");
  }
  if (!IsValidAuthority(host->value)) {
    return ClientError(ErrorCode::kBadHost,
                       "expected host or host:port in Host, got " + Excerpt(host->value));
  }
  head.authority = host->value;
  return {};
}

Error BadTarget(std::string_view expected, std::string_view target) {
  std::string detail = "expected ";
  detail += expected;
  return ClientError(ErrorCode::kMalformedRequest, detail + ", got " + Excerpt(target));
}

void SplitQuery(std::string_view path_and_query, RequestHead& head) {
  const size_t mark = path_and_query.find('?');
  head.has_query = mark != std::string_view::npos;
  head.path = path_and_query.substr(0, mark);
  head.query = head.has_query ? path_and_query.substr(mark + 1) : std::string_view();
}

// "http://host:port/path?query" (RFC 9112 3.2.2). Its authority replaces Host.
Status ReadAbsoluteForm(RequestHead& head) {
  const std::string_view target = head.target;
  const size_t colon = target.find("://");
  const std::string_view scheme = target.substr(0, colon);
  if (colon == std::string_view::npos ||
      !(EqualsIgnoreCase(scheme, "http") || EqualsIgnoreCase(scheme, "https"))) {
    return BadTarget("a target that starts with '/', 'http://' or 'https://'", target);
  }
  const size_t start = colon + 3;
  const size_t end = std::min(target.find_first_of("/?", start), target.size());
  const std::string_view authority = target.substr(start, end - start);
  if (!IsValidAuthority(authority)) {
    return ClientError(ErrorCode::kBadHost,
                       "expected host or host:port in the target, got " + Excerpt(authority));
  }
  head.scheme = scheme;
  head.authority = authority;
  SplitQuery(target.substr(end), head);
  if (head.path.empty()) {
    head.path = head.method == Method::kOptions && !head.has_query ? "*" : "/";
  }
  return {};
}

// RFC 9112 3.2.1 to 3.2.4. Bytes above 0x7f pass: clients send them, and NormalizePath escapes
// them.
Status ReadTarget(RequestHead& head) {
  const std::string_view target = head.target;
  head.scheme = {};
  if (!characters::IsPlain(target, '!') || target.find('#') != std::string_view::npos) {
    return BadTarget("a target without white space, controls and fragment", target);
  }
  if (head.method == Method::kConnect) {
    const size_t colon = target.rfind(':');
    if (!IsValidAuthority(target) || colon == std::string_view::npos ||
        !ParseDecimal(target.substr(colon + 1))) {
      return BadTarget("host:port as the target of CONNECT", target);
    }
    head.authority = target;
    SplitQuery({}, head);
    return {};
  }
  if (!target.empty() && target.front() == '/') {
    SplitQuery(target, head);
    return {};
  }
  if (target != "*") return ReadAbsoluteForm(head);
  if (head.method != Method::kOptions) return BadTarget("'*' only with OPTIONS", head.method_text);
  SplitQuery(target, head);
  return {};
}

Error InvalidResponse(std::string detail) {
  return UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever, std::move(detail));
}

Status ReadResponseCoding(ResponseHead& head) {
  const std::string_view value = head.fields.Value(HeaderId::kTransferEncoding);
  if (head.fields.Count(HeaderId::kTransferEncoding) > 1) {
    return InvalidResponse("expected one Transfer-Encoding field, got several");
  }
  // RFC 9112 6.1: with HTTP/1.0 or Content-Length beside it, the framing is not to be trusted for
  // another response.
  if (head.version == HttpVersion::kHttp10 || head.fields.Has(HeaderId::kContentLength)) {
    head.keep_alive = false;
  }
  switch (ReadTransferEncoding(value)) {
    case Coding::kChunked:
      head.body.kind = BodyFraming::Kind::kChunked;
      return {};
    case Coding::kChunkedNotLast:
    case Coding::kOther:
    case Coding::kOtherThenChunked:
    case Coding::kInvalid:
      break;  // we sent no TE, and Transfer-Encoding is not forwarded: nobody could undo the coding
  }
  return InvalidResponse("expected the transfer coding 'chunked', got " + Excerpt(value));
}

Status ReadResponseLength(ResponseHead& head) {
  const HeaderField* first = head.fields.Find(HeaderId::kContentLength);
  for (const HeaderField& field : head.fields) {
    if (field.id == HeaderId::kContentLength && field.value != first->value) {
      return InvalidResponse("expected one Content-Length, got " + Excerpt(first->value) + " and " +
                             Excerpt(field.value));
    }
  }
  const std::optional<uint64_t> bytes = ParseContentLength(first->value);
  if (!bytes) {
    return InvalidResponse("expected a Content-Length of decimal digits, got " +
                           Excerpt(first->value));
  }
  head.body = {BodyFraming::Kind::kLength, *bytes};
  return {};
}

bool IsPort(std::string_view text) {
  if (text.empty()) return true;  // "host:" is valid and means the default port
  const std::optional<uint64_t> port = ParseDecimal(text);
  return port && *port <= 65535;
}

}  // namespace

Status CheckRequest(RequestHead& head) {
  if (const HeaderField* bad = FindBadField(head.fields)) {
    return ClientError(ErrorCode::kMalformedRequest, DescribeBadField(*bad));
  }
  head.authority = {};
  SLUICE_TRY(CheckRequestFraming(head));
  SLUICE_TRY(CheckHost(head));
  SLUICE_TRY(ReadTarget(head));
  SLUICE_TRY(CheckExpect(head));
  head.keep_alive = KeepsAlive(head.fields, head.version);
  return {};
}

Status CheckResponse(ResponseHead& head, Method request_method) {
  if (const HeaderField* bad = FindBadField(head.fields)) {
    return InvalidResponse(DescribeBadField(*bad));
  }
  if (head.status < 100 || head.status > 599) {
    return InvalidResponse("expected a status of 100 to 599, got " + std::to_string(head.status));
  }
  head.body = {};
  head.keep_alive = KeepsAlive(head.fields, head.version);
  const bool has_coding = head.fields.Has(HeaderId::kTransferEncoding);
  const bool has_length = head.fields.Has(HeaderId::kContentLength);
  // Checked even where no body follows, so that a wrong length is never forwarded.
  if (has_coding) {
    SLUICE_TRY(ReadResponseCoding(head));
  } else if (has_length) {
    SLUICE_TRY(ReadResponseLength(head));
  } else {
    head.body.kind = BodyFraming::Kind::kUntilClose;
  }
  const bool no_body = request_method == Method::kHead || head.status < 200 || head.status == 204 ||
                       head.status == 304 ||
                       (request_method == Method::kConnect && head.status < 300);
  if (no_body) {
    // RFC 9112 6.3 ends a 204 with its head; an origin that announces a body there may send it.
    const bool announced = has_coding || (has_length && head.body.has_body());
    if (head.status == 204 && announced) head.keep_alive = false;
    head.body = {};
  } else if (head.body.kind == BodyFraming::Kind::kUntilClose) {
    head.keep_alive = false;
  }
  return {};
}

// 100-continue is the only expectation there is. An HTTP/1.0 client cannot mean it.
Status CheckExpect(RequestHead& head) {
  head.expect_continue = false;
  if (!head.fields.Has(HeaderId::kExpect) || head.version == HttpVersion::kHttp10) return {};
  for (const HeaderField& field : head.fields) {
    if (field.id != HeaderId::kExpect || EqualsIgnoreCase(field.value, "100-continue")) continue;
    return ClientError(ErrorCode::kExpectationFailed,
                       "expected '100-continue' in Expect, got " + Excerpt(field.value));
  }
  head.expect_continue = head.body.has_body();
  return {};
}

std::optional<uint64_t> ParseContentLength(std::string_view value) {
  const std::optional<uint64_t> length = ParseDecimal(value);
  return length && *length <= kMaxContentLength ? length : std::nullopt;
}

bool IsFramingLookalike(std::string_view name) {
  if (name.size() != 17 && name.size() != 14) return false;
  return EqualsIgnoreCase(name, "transfer_encoding") || EqualsIgnoreCase(name, "content_length");
}

bool IsForwardableTrailer(HeaderId id, std::string_view name) {
  switch (id) {
    case HeaderId::kOther:
      break;
    case HeaderId::kDate:
    case HeaderId::kServer:
    case HeaderId::kVia:
    case HeaderId::kAccept:
    case HeaderId::kAcceptEncoding:
    case HeaderId::kReferer:
    case HeaderId::kUserAgent:
      return true;
    default:  // framing, routing, authentication, content format, connection, forwarding
      return false;
  }
  static constexpr std::array<std::string_view, 25> kForbidden = {
      "age",
      "apikey",
      "authentication-info",
      "cache-control",
      "content-range",
      "content-location",
      "cookie2",
      "expires",
      "if-match",
      "if-modified-since",
      "if-none-match",
      "if-range",
      "if-unmodified-since",
      "location",
      "pragma",
      "range",
      "retry-after",
      "set-cookie",
      "set-cookie2",
      "strict-transport-security",
      "vary",
      "warning",
      "www-authenticate",
      "transfer_encoding",
      "content_length",
  };
  return std::none_of(kForbidden.begin(), kForbidden.end(), [name](std::string_view forbidden) {
    return EqualsIgnoreCase(name, forbidden);
  });
}

bool IsToken(std::string_view text) {
  return !text.empty() && characters::All(text, characters::kToken);
}

bool IsFieldValue(std::string_view text) {
  if (characters::IsPlain(text, ' ')) return true;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c == '\t' || characters::IsPlain({&c, 1}, ' ');
  });
}

bool IsValidAuthority(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return false;
    const std::string_view address = text.substr(1, end - 1);
    const std::string_view port = text.substr(end + 1);
    return address.find(':') != std::string_view::npos && characters::IsPlain(address, '!') &&
           IpAddress::Parse(address).has_value() &&
           (port.empty() || (port.front() == ':' && IsPort(port.substr(1))));
  }
  const size_t colon = text.find(':');
  const std::string_view host = text.substr(0, colon);
  return !host.empty() && characters::All(host, characters::kHost) &&
         (colon == std::string_view::npos || IsPort(text.substr(colon + 1)));
}

}  // namespace sluice
