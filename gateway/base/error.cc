#include "gateway/base/error.h"

#include <array>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(ErrorCode::kCount)> kReasonNames = {
    "ok",
    "malformed_request",
    "bad_framing",
    "bad_host",
    "bad_path",
    "unsupported_version",
    "unknown_transfer_coding",
    "method_not_allowed",
    "expectation_failed",
    "loop_detected",
    "uri_too_long",
    "headers_too_large",
    "body_too_large",
    "header_timeout",
    "body_timeout",
    "client_closed",
    "client_send_timeout",
    "tls_failed",
    "plain_http",
    "misdirected_request",
    "client_certificate",
    "no_route",
    "no_upstream",
    "no_healthy_node",
    "circuit_open",
    "upstream_overflow",
    "plugin_reply",
    "connect_refused",
    "connect_failed",
    "connect_timeout",
    "upstream_tls_failed",
    "upstream_send_timeout",
    "upstream_read_timeout",
    "upstream_try_timeout",
    "total_timeout",
    "upstream_reset",
    "upstream_closed",
    "invalid_response",
    "response_head_too_large",
    "response_truncated",
    "tunnel_idle",
    "internal",
    "plugin_failed",
    "connection_limit",
    "draining",
    "invalid_config",
    "io",
};
static_assert(!kReasonNames.back().empty(), "every ErrorCode needs a name");

}  // namespace

std::string_view ReasonName(ErrorCode code) { return kReasonNames[static_cast<size_t>(code)]; }

Error ClientError(ErrorCode code, std::string detail) {
  return {code, ErrorSide::kClient, Retry::kNever, std::move(detail)};
}

Error UpstreamError(ErrorCode code, Retry retry, std::string detail) {
  return {code, ErrorSide::kUpstream, retry, std::move(detail)};
}

Error GatewayError(ErrorCode code, std::string detail) {
  return {code, ErrorSide::kGateway, Retry::kNever, std::move(detail)};
}

Error SystemError(std::string_view what, int error_number) {
  std::string detail(what);
  detail += ": ";
  detail += std::strerror(error_number);
  return GatewayError(ErrorCode::kIo, std::move(detail));
}

}  // namespace sluice
