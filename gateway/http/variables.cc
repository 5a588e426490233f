#include "gateway/http/variables.h"

#include <algorithm>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/uri.h"

namespace sluice {

namespace {

constexpr std::string_view kArg = "arg_";
constexpr std::string_view kPostArg = "post_arg_";
constexpr std::string_view kHttp = "http_";
constexpr std::string_view kCookie = "cookie_";

// A view that is not "absent" even when it is empty.
std::string_view Present(std::string_view value) { return value.data() == nullptr ? "" : value; }

std::string_view NullIfEmpty(std::string_view value) {
  return value.empty() ? std::string_view() : value;
}

std::string_view FindArgument(std::string_view query, std::string_view name, std::string& scratch) {
  const std::string_view value = FindQueryArgument(query, name);
  if (value.find_first_of("%+") == std::string_view::npos) return value;
  scratch = DecodeQueryComponent(value);
  return scratch;
}

// Fields of one name are one list (RFC 9110 5.3), so their values are joined by ", ".
std::string_view JoinFields(const HeaderList& fields, std::string_view name, std::string& scratch) {
  const HeaderField* found = nullptr;
  bool joined = false;
  for (const HeaderField& field : fields) {
    if (!EqualsIgnoreCase(field.name, name)) continue;
    if (found == nullptr) {
      found = &field;
      continue;
    }
    if (!joined) scratch = found->value;
    joined = true;
    scratch.append(", ").append(field.value);
  }
  if (joined) return scratch;
  return found == nullptr ? std::string_view() : Present(found->value);
}

std::string_view HeaderValue(const HeaderList& fields, HeaderId id, std::string_view name,
                             std::string& scratch) {
  if (id != HeaderId::kOther) {
    if (!fields.Has(id)) return {};
    if (fields.Count(id) == 1) return Present(fields.Value(id));
  }
  return JoinFields(fields, name, scratch);
}

std::string_view CookieValue(const HeaderList& fields, std::string_view name) {
  if (!fields.Has(HeaderId::kCookie)) return {};
  for (const HeaderField& field : fields) {
    if (field.id != HeaderId::kCookie) continue;
    const std::string_view value = FindCookie(field.value, name);
    if (value.data() != nullptr) return value;
  }
  return {};
}

std::string_view Protocol(HttpVersion version) {
  switch (version) {
    case HttpVersion::kHttp10:
      return "HTTP/1.0";
    case HttpVersion::kHttp11:
      return "HTTP/1.1";
    case HttpVersion::kHttp2:
      return "HTTP/2.0";
  }
  return "";
}

// Path and query as the client sent them; of an absolute-form target without scheme and authority.
std::string_view RequestUri(const RequestHead& head, std::string& scratch) {
  if (head.scheme.empty()) return Present(head.target);
  scratch = head.path;
  if (head.has_query) scratch.append("?").append(head.query);
  return scratch;
}

std::string_view AddressText(const IpAddress& ip, std::string_view text, std::string& scratch) {
  if (!text.empty()) return text;
  if (ip.is_none()) return {};
  scratch = ip.ToString();
  return scratch;
}

std::string_view PortText(uint16_t port, std::string& scratch) {
  scratch = std::to_string(port);
  return scratch;
}

std::string_view RequestLine(const RequestHead& head, std::string& scratch) {
  scratch = head.method_text;
  scratch.append(" ").append(head.target).append(" ").append(Protocol(head.version));
  return scratch;
}

std::string_view ServerAddress(const RequestView& request, std::string& scratch) {
  if (request.server == nullptr) return {};
  scratch = request.server->is_unix() ? std::string(request.server->path())
                                      : request.server->ip().ToString();
  return scratch;
}

std::string_view ServerPort(const RequestView& request, std::string& scratch) {
  const bool has = request.server != nullptr && !request.server->is_unix();
  return has ? PortText(request.server->port(), scratch) : std::string_view();
}

std::string_view StatusDigits(const RequestView& request, std::string& scratch) {
  if (request.response_status == 0) return {};
  scratch = std::to_string(request.response_status);
  return scratch;
}

bool IsNameChar(char c) {
  return IsDigit(c) || c == '_' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
}

template <typename Names>
std::string NearNames(std::string_view name, const Names& names) {
  std::string near;
  std::string all;
  for (const auto& [known, kind] : names) {
    all.append(known).append(", ");
    if (EditDistance(name, known, 2) > 2) continue;
    near.append(near.empty() ? "did you mean " : " or ").append(known);
  }
  if (!near.empty()) return near + "?";
  return "known are " + all + "arg_*, http_*, cookie_*, post_arg_*";
}

// Reads "$name" or "${name}" at the start of `rest`, which begins with '$', and removes it.
Result<std::string_view> TakeVariableName(std::string_view& rest) {
  const bool braced = rest.substr(1).starts_with('{');
  std::string_view name = rest.substr(braced ? 2 : 1);
  const auto* end = std::find_if_not(name.begin(), name.end(), IsNameChar);
  name = name.substr(0, static_cast<size_t>(end - name.begin()));
  rest.remove_prefix((braced ? 2 : 1) + name.size());
  if (name.empty()) {
    return GatewayError(ErrorCode::kInvalidConfig, "expected a variable's name after \"$\"");
  }
  if (!braced) return name;
  if (!rest.starts_with('}')) {
    return GatewayError(ErrorCode::kInvalidConfig,
                        "expected \"}\" after \"${" + std::string(name) + "\"");
  }
  rest.remove_prefix(1);
  return name;
}

}  // namespace

Result<Variable> Variable::Make(std::string_view name) {
  static constexpr std::pair<std::string_view, Kind> kNames[] = {
      {"uri", Kind::kUri},
      {"document_uri", Kind::kUri},
      {"request_uri", Kind::kRequestUri},
      {"args", Kind::kQueryString},
      {"query_string", Kind::kQueryString},
      {"is_args", Kind::kIsArgs},
      {"host", Kind::kHost},
      {"http_host", Kind::kHttpHost},
      {"scheme", Kind::kScheme},
      {"request_method", Kind::kRequestMethod},
      {"method", Kind::kRequestMethod},
      {"remote_addr", Kind::kRemoteAddr},
      {"remote_port", Kind::kRemotePort},
      {"realip_remote_addr", Kind::kRealIpRemoteAddr},
      {"server_addr", Kind::kServerAddr},
      {"server_port", Kind::kServerPort},
      {"server_protocol", Kind::kServerProtocol},
      {"content_type", Kind::kContentType},
      {"content_length", Kind::kContentLength},
      {"request", Kind::kRequest},
      {"status", Kind::kStatus},
      {"route_id", Kind::kRouteId},
      {"service_id", Kind::kServiceId},
      {"consumer_name", Kind::kConsumerName},
      {"consumer_group_id", Kind::kConsumerGroupId},
      {"https", Kind::kHttps},
      {"ssl_protocol", Kind::kSslProtocol},
      {"ssl_cipher", Kind::kSslCipher},
      {"ssl_server_name", Kind::kSslServerName},
      {"ssl_client_verify", Kind::kSslClientVerify},
  };
  static constexpr std::pair<std::string_view, Kind> kFamilies[] = {
      {kArg, Kind::kArg},
      {kPostArg, Kind::kPostArg},
      {kHttp, Kind::kHeader},
      {kCookie, Kind::kCookie},
  };
  Variable variable;
  variable.name_ = name;
  for (const auto& [known, kind] : kNames) {
    if (name != known) continue;
    variable.kind_ = kind;
    return variable;
  }
  for (const auto& [prefix, kind] : kFamilies) {
    if (name.substr(0, prefix.size()) != prefix || name.size() == prefix.size()) continue;
    variable.kind_ = kind;
    variable.part_ = name.substr(prefix.size());
    if (kind == Kind::kHeader) {
      variable.part_ = ToLower(variable.part_);
      std::replace(variable.part_.begin(), variable.part_.end(), '_', '-');
      variable.header_ = FindHeaderId(variable.part_);
    }
    return variable;
  }
  return GatewayError(ErrorCode::kInvalidConfig,
                      "unknown variable \"" + std::string(name) + "\"; " + NearNames(name, kNames));
}

std::string_view Variable::TlsValue(const RequestView& request) const {
  if (request.scheme != "https") return {};
  switch (kind_) {
    case Kind::kHttps:
      return "on";
    case Kind::kSslProtocol:
      return request.tls_protocol;
    case Kind::kSslCipher:
      return request.tls_cipher;
    case Kind::kSslServerName:
      return request.tls_server_name.empty() ? std::string_view() : request.tls_server_name;
    case Kind::kSslClientVerify:
      return request.tls_client_verified ? "SUCCESS" : "NONE";
    default:
      return {};
  }
}

std::string_view Variable::Value(const RequestView& request, std::string& scratch) const {
  const RequestHead& head = *request.head;
  switch (kind_) {
    case Kind::kArg:
      return FindArgument(head.query, part_, scratch);
    case Kind::kPostArg:
      return FindArgument(request.form_body, part_, scratch);
    case Kind::kHeader:
      return HeaderValue(head.fields, header_, part_, scratch);
    case Kind::kCookie:
      return CookieValue(head.fields, part_);
    case Kind::kUri:
      return Present(request.path);
    case Kind::kRequestUri:
      return RequestUri(head, scratch);
    case Kind::kQueryString:
      return head.has_query ? Present(head.query) : std::string_view();
    case Kind::kIsArgs:
      return head.query.empty() ? "" : "?";
    case Kind::kHost:
      return NullIfEmpty(request.host);
    case Kind::kHttpHost:
      return NullIfEmpty(head.authority);
    case Kind::kScheme:
      return Present(request.scheme);
    case Kind::kRequestMethod:
      return Present(head.method_text);
    case Kind::kRemoteAddr:
      return AddressText(request.client_ip, request.client_text, scratch);
    case Kind::kRemotePort:
      return request.client_port == 0 ? std::string_view() : PortText(request.client_port, scratch);
    case Kind::kRealIpRemoteAddr:
      return AddressText(request.peer_ip, request.peer_text, scratch);
    case Kind::kServerAddr:
      return ServerAddress(request, scratch);
    case Kind::kServerPort:
      return ServerPort(request, scratch);
    case Kind::kServerProtocol:
      return Protocol(head.version);
    case Kind::kContentType:
      return HeaderValue(head.fields, HeaderId::kContentType, "content-type", scratch);
    case Kind::kContentLength:
      return HeaderValue(head.fields, HeaderId::kContentLength, "content-length", scratch);
    case Kind::kRequest:
      return RequestLine(head, scratch);
    case Kind::kStatus:
      return StatusDigits(request, scratch);
    case Kind::kRouteId:
      return NullIfEmpty(request.route_id);
    case Kind::kServiceId:
      return NullIfEmpty(request.service_id);
    case Kind::kConsumerName:
      return NullIfEmpty(request.consumer_name);
    case Kind::kConsumerGroupId:
      return NullIfEmpty(request.consumer_group_id);
    default:
      return TlsValue(request);
  }
  return {};
}

Result<std::vector<TemplatePart>> SplitTemplate(std::string_view text) {
  std::vector<TemplatePart> parts;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t dollar = rest.find('$');
    TemplatePart& part = parts.emplace_back();
    part.literal = rest.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    rest.remove_prefix(dollar);
    part.column = text.size() - rest.size() + 1;
    const auto name = TakeVariableName(rest);
    if (!name) {
      return GatewayError(ErrorCode::kInvalidConfig,
                          "column " + std::to_string(part.column) + ": " + name.error().detail);
    }
    part.variable = *name;
  }
  return parts;
}

}  // namespace sluice
