// What went wrong, whose fault it was and whether a retry is safe. One enumerator is one way for a
// request (or a piece of set-up) to end; status code, retry decision, log level, metric label and
// the `reason` of the access log all derive from it, each in one place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

enum class ErrorCode : uint8_t {
  kNone,  // no error: the upstream's answer was relayed
  // The client's fault.
  kMalformedRequest,       // 400: the head does not follow the grammar
  kBadFraming,             // 400: Content-Length, Transfer-Encoding or chunks are ambiguous
  kBadHost,                // 400: Host missing, repeated or invalid
  kBadPath,                // 400: a path that could be read in two ways
  kUnsupportedVersion,     // 505
  kUnknownTransferCoding,  // 501
  kMethodNotAllowed,       // 405: CONNECT, TRACE
  kExpectationFailed,      // 417
  kLoopDetected,           // 508: the request has been here before
  kUriTooLong,             // 414
  kHeadersTooLarge,        // 431
  kBodyTooLarge,           // 413
  kHeaderTimeout,          // 408
  kBodyTimeout,            // 408
  kClientClosed,           // 499, log only
  kClientSendTimeout,      // the client does not read its response
  kTlsFailed,              // log only: no handshake, or broken records
  kPlainHttp,              // 400: plain text where TLS is expected
  kMisdirectedRequest,     // 421: this connection's certificate is not for that host
  kClientCertificate,      // 400: the route asks for a certificate of the client
  // The configuration's answer.
  kNoRoute,           // 404
  kNoUpstream,        // 503: the route has no upstream
  kNoHealthyNode,     // 503: no node can be tried
  kCircuitOpen,       // 503: the upstream's circuit breaker, or that of each endpoint, is open
  kUpstreamOverflow,  // 503: the upstream's limits are reached
  kPluginReply,       // a plugin's, whose status it is
  // The upstream's fault.
  kConnectRefused,        // 502
  kConnectFailed,         // 502: any other failure to connect
  kConnectTimeout,        // 504
  kUpstreamTlsFailed,     // 502: no handshake, or not the certificate that was expected
  kUpstreamSendTimeout,   // 504
  kUpstreamReadTimeout,   // 504
  kUpstreamTryTimeout,    // 504: no response head within retry.per_try_timeout
  kTotalTimeout,          // 504: timeout.total has passed
  kUpstreamReset,         // 502: reset before the response head
  kUpstreamClosed,        // 502: closed before the response head
  kInvalidResponse,       // 502: the response does not follow the grammar or its framing is wrong
  kResponseHeadTooLarge,  // 502
  kResponseTruncated,     // the body ended early; the client sees a truncated body too
  kTunnelIdle,            // log only: nothing came through a tunnel for too long
  // Ours.
  kInternal,         // 500
  kPluginFailed,     // 500: a plugin could not do its work, and its failure mode is closed
  kConnectionLimit,  // 503
  kDraining,         // 503
  // Set-up: configuration, processes, files.
  kInvalidConfig,
  kIo,
  kCount,
};

enum class ErrorSide : uint8_t { kNone, kClient, kUpstream, kGateway };

// kSafe: nothing of the request was processed, so any method may be tried again.
// kIdempotent: it may have been processed, so only an idempotent method may be.
enum class Retry : uint8_t { kNever, kIdempotent, kSafe };

// The stable snake_case name used as `reason` in logs, metrics and error bodies: "no_route".
std::string_view ReasonName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  ErrorSide side = ErrorSide::kGateway;
  Retry retry = Retry::kNever;
  std::string detail;  // what was expected and what came
};

Error ClientError(ErrorCode code, std::string detail);
Error UpstreamError(ErrorCode code, Retry retry, std::string detail);
Error GatewayError(ErrorCode code, std::string detail);

// A failed system call: "bind 127.0.0.1:80: Permission denied".
Error SystemError(std::string_view what, int error_number);

}  // namespace sluice
