#include "gateway/http/http1_start_line.h"

#include <string>

#include "gateway/base/text.h"
#include "gateway/http/excerpt.h"
#include "gateway/http/hygiene.h"

namespace sluice {
namespace {

constexpr size_t kVersionSize = 8;  // "HTTP/1.1"

bool HasVersionForm(std::string_view text) {
  return text.size() == kVersionSize && text.substr(0, 5) == "HTTP/" && IsDigit(text[5]) &&
         text[6] == '.' && IsDigit(text[7]);
}

// RFC 9110 2.5: a higher minor version is treated as the highest that we know.
HttpVersion VersionByMinor(std::string_view text) {
  return text[7] == '0' ? HttpVersion::kHttp10 : HttpVersion::kHttp11;
}

Error BadRequestLine(std::string_view line) {
  return ClientError(ErrorCode::kMalformedRequest,
                     "expected a request line 'METHOD target HTTP/1.1', got " + Excerpt(line));
}

}  // namespace

Result<RequestLine> ParseRequestLine(std::string_view line) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first + 1) return BadRequestLine(line);
  const std::string_view version = line.substr(last + 1);
  RequestLine out;
  out.method = line.substr(0, first);
  out.target = line.substr(first + 1, last - first - 1);
  if (!HasVersionForm(version) || !IsToken(out.method)) return BadRequestLine(line);
  if (version[5] != '1') {
    return ClientError(ErrorCode::kUnsupportedVersion,
                       "expected HTTP/1.0 or HTTP/1.1, got " + Excerpt(version));
  }
  out.version = VersionByMinor(version);
  return out;
}

Result<StatusLine> ParseStatusLine(std::string_view line) {
  constexpr size_t kStatusStart = kVersionSize + 1;
  constexpr size_t kStatusEnd = kStatusStart + 3;
  // The space before an empty reason is often left out.
  const bool valid = line.size() >= kStatusEnd && HasVersionForm(line.substr(0, kVersionSize)) &&
                     line[5] == '1' && line[kVersionSize] == ' ' && IsDigit(line[kStatusStart]) &&
                     IsDigit(line[kStatusStart + 1]) && IsDigit(line[kStatusStart + 2]) &&
                     (line.size() == kStatusEnd || line[kStatusEnd] == ' ') &&
                     IsFieldValue(line.substr(kStatusEnd));
  if (!valid) {
    return UpstreamError(ErrorCode::kInvalidResponse, Retry::kNever,
                         "expected a status line 'HTTP/1.1 200 OK', got " + Excerpt(line));
  }
  StatusLine out;
  out.version = VersionByMinor(line);
  for (size_t i = kStatusStart; i < kStatusEnd; ++i) out.status = out.status * 10 + (line[i] - '0');
  if (line.size() > kStatusEnd) out.reason = line.substr(kStatusEnd + 1);
  return out;
}

bool MayBeginRequestLine(std::string_view bytes) {
  const std::string_view method = bytes.substr(0, bytes.find(' '));
  return IsToken(method);
}

}  // namespace sluice
