// The first line of an HTTP/1 message (RFC 9112 3 and 4), without its CRLF. Parsed here and not by
// llhttp, because that knows only a fixed set of methods and cannot tell a wrong version (505) from
// a broken line (400). Used by the codec only.
#pragma once

#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/message.h"

namespace sluice {

struct RequestLine {
  std::string_view method;
  std::string_view target;  // its characters and form are checked by CheckRequest
  HttpVersion version = HttpVersion::kHttp11;
};

struct StatusLine {
  HttpVersion version = HttpVersion::kHttp11;
  int status = 0;  // three digits; the range is checked by CheckResponse
  std::string_view reason;
};

// Views into `line`. kMalformedRequest or kUnsupportedVersion.
Result<RequestLine> ParseRequestLine(std::string_view line);

// Views into `line`. kInvalidResponse.
Result<StatusLine> ParseStatusLine(std::string_view line);

// Can a request line begin so? Lets a connection that speaks another protocol fail at its first
// bytes and not at the timeout.
bool MayBeginRequestLine(std::string_view bytes);

}  // namespace sluice
