#include "gateway/proxy/grpc.h"

#include <array>

#include "gateway/base/text.h"

namespace sluice {

bool IsGrpc(const RequestHead& head) {
  constexpr std::string_view kType = "application/grpc";
  if (head.version != HttpVersion::kHttp2) return false;
  const std::string_view type = head.fields.Value(HeaderId::kContentType);
  if (!EqualsIgnoreCase(type.substr(0, kType.size()), kType)) return false;
  return type.size() == kType.size() || type[kType.size()] == '+' || type[kType.size()] == ';';
}

int GrpcStatusOf(int http_status) {
  switch (http_status) {
    case 400:
      return 13;  // INTERNAL
    case 401:
      return 16;  // UNAUTHENTICATED
    case 403:
      return 7;  // PERMISSION_DENIED
    case 404:
    case 405:
      return 12;  // UNIMPLEMENTED
    case 413:
    case 429:
    case 431:
      return 8;  // RESOURCE_EXHAUSTED
    case 499:
      return 1;  // CANCELLED
    case 408:
    case 504:
      return 4;  // DEADLINE_EXCEEDED
    case 502:
    case 503:
      return 14;  // UNAVAILABLE
    default:
      return 2;  // UNKNOWN
  }
}

int HttpStatusOfGrpc(uint64_t code) {
  // In the order of google/rpc/code.proto, which names these.
  constexpr std::array<int, 17> kStatuses = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                             400, 409, 400, 501, 500, 503, 500, 401};
  return code < kStatuses.size() ? kStatuses[code] : 500;
}

int OutcomeStatus(int status, const HeaderList& fields) {
  const HeaderField* const field = fields.Find("grpc-status");
  if (field == nullptr || status != 200) return status;
  constexpr uint64_t kUnimplemented = 12;
  const uint64_t code = ParseDecimal(field->value).value_or(0);
  return code == kUnimplemented ? status : HttpStatusOfGrpc(code);
}

std::string GrpcMessage(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte <= 0x7e && c != '%') {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

std::optional<Duration> ParseGrpcTimeout(std::string_view text) {
  constexpr size_t kMostDigits = 8;
  if (text.size() < 2 || text.size() > kMostDigits + 1) return std::nullopt;
  const std::optional<uint64_t> digits = ParseDecimal(text.substr(0, text.size() - 1));
  if (!digits) return std::nullopt;
  const auto count = static_cast<int64_t>(*digits);
  // The longest values do not fit a Duration, and nobody waits for so long.
  const auto bounded = [count](Duration unit) {
    constexpr Duration kLongest = std::chrono::hours(24 * 365);
    return count > kLongest / unit ? kLongest : count * unit;
  };
  switch (text.back()) {
    case 'H':
      return bounded(std::chrono::hours(1));
    case 'M':
      return bounded(std::chrono::minutes(1));
    case 'S':
      return bounded(std::chrono::seconds(1));
    case 'm':
      return bounded(std::chrono::milliseconds(1));
    case 'u':
      return bounded(std::chrono::microseconds(1));
    case 'n':
      return bounded(std::chrono::nanoseconds(1));
    default:
      return std::nullopt;
  }
}

}  // namespace sluice
