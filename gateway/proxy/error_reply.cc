#include "gateway/proxy/error_reply.h"

#include <algorithm>
#include <array>

#include "gateway/base/json_writer.h"

namespace sluice {

namespace {

// The client's fault.
int ClientStatus(ErrorCode code) {
  switch (code) {
    case ErrorCode::kMalformedRequest:
    case ErrorCode::kBadFraming:
    case ErrorCode::kBadHost:
    case ErrorCode::kBadPath:
    case ErrorCode::kPlainHttp:
    case ErrorCode::kClientCertificate:
      return 400;
    case ErrorCode::kUnsupportedVersion:
      return 505;
    case ErrorCode::kUnknownTransferCoding:
      return 501;
    case ErrorCode::kMethodNotAllowed:
      return 405;
    case ErrorCode::kExpectationFailed:
      return 417;
    case ErrorCode::kLoopDetected:
      return 508;
    case ErrorCode::kUriTooLong:
      return 414;
    case ErrorCode::kMisdirectedRequest:
      return 421;
    case ErrorCode::kHeadersTooLarge:
      return 431;
    case ErrorCode::kBodyTooLarge:
      return 413;
    case ErrorCode::kHeaderTimeout:
    case ErrorCode::kBodyTimeout:
      return 408;
    case ErrorCode::kClientClosed:
    case ErrorCode::kClientSendTimeout:
    case ErrorCode::kTlsFailed:
      return 499;
    default:
      return 500;
  }
}

}  // namespace

int StatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNone:
      return 200;
    case ErrorCode::kNoRoute:
      return 404;
    case ErrorCode::kNoUpstream:
    case ErrorCode::kNoHealthyNode:
    case ErrorCode::kCircuitOpen:
    case ErrorCode::kUpstreamOverflow:
    case ErrorCode::kConnectionLimit:
    case ErrorCode::kDraining:
      return 503;
    case ErrorCode::kConnectRefused:
    case ErrorCode::kConnectFailed:
    case ErrorCode::kUpstreamTlsFailed:
    case ErrorCode::kUpstreamReset:
    case ErrorCode::kUpstreamClosed:
    case ErrorCode::kInvalidResponse:
    case ErrorCode::kResponseHeadTooLarge:
    case ErrorCode::kResponseTruncated:
    case ErrorCode::kTunnelIdle:
      return 502;
    case ErrorCode::kConnectTimeout:
    case ErrorCode::kUpstreamSendTimeout:
    case ErrorCode::kUpstreamReadTimeout:
    case ErrorCode::kUpstreamTryTimeout:
    case ErrorCode::kTotalTimeout:
      return 504;
    default:
      return ClientStatus(code);
  }
}

std::string_view StatusText(int status) {
  struct Entry {
    int status;
    std::string_view text;
  };
  static constexpr std::array<Entry, 44> kTexts = {{
      {100, "Continue"},
      {101, "Switching Protocols"},
      {103, "Early Hints"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {407, "Proxy Authentication Required"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {411, "Length Required"},
      {412, "Precondition Failed"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {416, "Range Not Satisfiable"},
      {417, "Expectation Failed"},
      {421, "Misdirected Request"},
      {425, "Too Early"},
      {426, "Upgrade Required"},
      {428, "Precondition Required"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {508, "Loop Detected"},
  }};
  for (const Entry& entry : kTexts) {
    if (entry.status == status) return entry.text;
  }
  return {};
}

std::string ErrorBody(ErrorCode code) { return ErrorBody(code, StatusOf(code)); }

std::string ErrorBody(ErrorCode code, int status) {
  std::string message = std::to_string(status);
  message += ' ';
  message += code == ErrorCode::kNoRoute ? "Route Not Found" : StatusText(status);
  std::string body;
  JsonWriter json(body);
  json.BeginObject().Member("error_msg", message);
  // A route that does not exist is answered byte for byte as APISIX does, and so is what plugins say.
  if (code != ErrorCode::kNoRoute && code != ErrorCode::kPluginReply) json.Member("reason", ReasonName(code));
  json.EndObject();
  body += '\n';
  return body;
}

std::string RetryAfter(Duration wait) {
  return std::to_string(std::max<int64_t>(1, std::chrono::ceil<seconds>(wait).count()));
}

bool ClosesConnection(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNoRoute:
    case ErrorCode::kNoUpstream:
    case ErrorCode::kNoHealthyNode:
    case ErrorCode::kCircuitOpen:
    case ErrorCode::kUpstreamOverflow:
    case ErrorCode::kPluginReply:
    case ErrorCode::kPluginFailed:
    case ErrorCode::kConnectRefused:
    case ErrorCode::kConnectFailed:
    case ErrorCode::kConnectTimeout:
    case ErrorCode::kUpstreamTlsFailed:
    case ErrorCode::kUpstreamSendTimeout:
    case ErrorCode::kUpstreamReadTimeout:
    case ErrorCode::kUpstreamTryTimeout:
    case ErrorCode::kTotalTimeout:
    case ErrorCode::kUpstreamReset:
    case ErrorCode::kUpstreamClosed:
    case ErrorCode::kInvalidResponse:
    case ErrorCode::kResponseHeadTooLarge:
      return false;
    default:
      return true;
  }
}

}  // namespace sluice
