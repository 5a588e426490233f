#include "gateway/http/http2_rules.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/characters.h"
#include "gateway/http/excerpt.h"
#include "gateway/http/hygiene.h"

namespace sluice {
namespace {

Error Malformed(std::string detail) {
  return ClientError(ErrorCode::kMalformedRequest, std::move(detail));
}

Error Expected(std::string_view expected, std::string_view got) {
  return Malformed("expected " + std::string(expected) + ", got " + Excerpt(got));
}

bool IsLowerCase(std::string_view name) {
  return std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// RFC 9113 8.2.2: they concern a connection, and there is none in HTTP/2 that they could mean.
bool IsConnectionSpecific(HeaderId id) {
  switch (id) {
    case HeaderId::kConnection:
    case HeaderId::kKeepAlive:
    case HeaderId::kProxyConnection:
    case HeaderId::kTransferEncoding:
    case HeaderId::kUpgrade:
      return true;
    default:
      return false;
  }
}

Status CheckField(const HeaderField& field) {
  if (!field.name.empty() && field.name.front() == ':') {
    return Expected("known pseudo-header fields, once each and before the fields", field.name);
  }
  if (!IsToken(field.name) || !IsLowerCase(field.name)) {
    return Expected("a lower-case field name", field.name);
  }
  if (!IsFieldValue(field.value) || TrimOws(field.value).size() != field.value.size()) {
    return Expected(
        "a value without controls and outer white space in field " + Excerpt(field.name),
        field.value);
  }
  if (field.id == HeaderId::kOther) {
    if (IsFramingLookalike(field.name)) {
      return Expected("framing fields spelled with '-'", field.name);
    }
    return {};
  }
  if (IsConnectionSpecific(field.id)) return Expected("no connection-specific field", field.name);
  if (field.id == HeaderId::kTe && !EqualsIgnoreCase(field.value, "trailers")) {
    return Expected("nothing but 'trailers' in te", field.value);
  }
  return {};
}

// RFC 9113 8.3.1: a Host field beside :authority must mean the same.
Status ReadAuthority(const Http2PseudoFields& pseudo, RequestHead& head) {
  const HeaderField* host = head.fields.Find(HeaderId::kHost);
  const bool has_authority = pseudo.authority.data() != nullptr;
  if (!has_authority && host == nullptr) return Malformed("expected :authority or host, got none");
  if (host != nullptr && head.fields.Count(HeaderId::kHost) > 1) {
    return Malformed("expected one host field, got several");
  }
  head.authority = has_authority ? pseudo.authority : host->value;
  if (!IsValidAuthority(head.authority)) {
    return Expected("host or host:port in :authority", head.authority);
  }
  if (host == nullptr) {
    head.fields.Add({"host", head.authority, HeaderId::kHost});
  } else if (!EqualsIgnoreCase(host->value, head.authority)) {
    return Expected("the same host as in :authority, " + Excerpt(head.authority), host->value);
  }
  return {};
}

Status ReadConnectTarget(const Http2PseudoFields& pseudo, RequestHead& head) {
  const size_t colon = head.authority.rfind(':');
  if (pseudo.path.data() != nullptr || pseudo.scheme.data() != nullptr) {
    return Malformed("expected CONNECT with :authority alone");
  }
  if (colon == std::string_view::npos || !ParseDecimal(head.authority.substr(colon + 1))) {
    return Expected("host:port as the target of CONNECT", head.authority);
  }
  head.target = head.authority;
  return {};
}

Status ReadTarget(const Http2PseudoFields& pseudo, RequestHead& head) {
  if (head.method == Method::kConnect && pseudo.protocol.data() == nullptr) {
    return ReadConnectTarget(pseudo, head);
  }
  if (pseudo.scheme != "http" && pseudo.scheme != "https") {
    return Expected("the scheme 'http' or 'https'", pseudo.scheme);
  }
  const std::string_view path = pseudo.path;
  if (!characters::IsPlain(path, '!') || path.find('#') != std::string_view::npos) {
    return Expected("a path without white space, controls and fragment", path);
  }
  const bool asterisk = path == "*" && head.method == Method::kOptions;
  if (!asterisk && (path.empty() || path.front() != '/')) {
    return Expected("a path that starts with '/'", path);
  }
  head.target = path;
  const size_t mark = path.find('?');
  head.has_query = mark != std::string_view::npos;
  head.path = path.substr(0, mark);
  head.query = head.has_query ? path.substr(mark + 1) : std::string_view();
  return {};
}

Result<BodyFraming> ReadFraming(const HeaderList& fields, bool ended) {
  const HeaderField* length = fields.Find(HeaderId::kContentLength);
  if (length == nullptr) {
    return BodyFraming{ended ? BodyFraming::Kind::kNone : BodyFraming::Kind::kChunked, 0};
  }
  const std::optional<uint64_t> bytes = ParseContentLength(length->value);
  if (!bytes || fields.Count(HeaderId::kContentLength) > 1) {
    return Expected("one content-length of decimal digits", length->value);
  }
  return BodyFraming{BodyFraming::Kind::kLength, *bytes};
}

Error AsUpstreamError(const Error& error) {
  return UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever, error.detail);
}

}  // namespace

Status CheckHttp2Fields(const HeaderList& fields) {
  for (const HeaderField& field : fields) SLUICE_TRY(CheckField(field));
  return {};
}

void SetHttp2RequestLine(const Http2PseudoFields& pseudo, RequestHead& head) {
  head.version = HttpVersion::kHttp2;
  head.keep_alive = true;
  head.method_text = pseudo.method;
  head.method = FindMethod(pseudo.method);
  head.target = head.path = pseudo.path;
}

Status CheckHttp2Request(const Http2PseudoFields& pseudo, bool ended, RequestHead& head) {
  SetHttp2RequestLine(pseudo, head);
  SLUICE_TRY(CheckHttp2Fields(head.fields));
  if (!IsToken(pseudo.method)) return Expected("a method", pseudo.method);
  if (pseudo.status.data() != nullptr) return Expected("a request without :status", pseudo.status);
  if (pseudo.protocol.data() != nullptr && head.method != Method::kConnect) {
    return Expected("the method CONNECT beside :protocol", pseudo.method);
  }
  SLUICE_TRY(ReadAuthority(pseudo, head));
  SLUICE_TRY(ReadTarget(pseudo, head));
  // RFC 8441 5: what HTTP/1 asks for by GET and Upgrade. What follows the head is the tunnel.
  head.websocket = pseudo.protocol == "websocket";
  if (head.websocket) {
    head.method = Method::kGet;
    head.method_text = "GET";
    head.body = {};
    return {};
  }
  SLUICE_ASSIGN_OR_RETURN(head.body, ReadFraming(head.fields, ended));
  if (ended && head.body.has_body()) {
    return Expected("the body that content-length announces",
                    head.fields.Value(HeaderId::kContentLength));
  }
  return CheckExpect(head);
}

Status CheckHttp2Response(const Http2PseudoFields& pseudo, bool ended, Method request_method,
                          ResponseHead& head) {
  if (const Status status = CheckHttp2Fields(head.fields); !status.has_value()) {
    return AsUpstreamError(status.error());
  }
  const std::optional<uint64_t> code = ParseDecimal(pseudo.status);
  if (pseudo.status.size() != 3 || !code || *code < 100 || *code > 599 || *code == 101) {
    return UpstreamError(
        ErrorCode::kInvalidResponse, Retry::kNever,
        "expected a status of 100 to 599 and not 101, got " + Excerpt(pseudo.status));
  }
  head.version = HttpVersion::kHttp2;
  head.keep_alive = true;
  head.status = static_cast<int>(*code);
  Result<BodyFraming> body = ReadFraming(head.fields, ended);
  if (!body.has_value()) return AsUpstreamError(body.error());
  const bool no_body = request_method == Method::kHead || head.status < 200 || head.status == 204 ||
                       head.status == 304;
  head.body = no_body ? BodyFraming{} : *body;
  return {};
}

}  // namespace sluice
