#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"
#include "gateway/http/variables.h"
#include "gateway/observe/access_log.h"

namespace sluice {
namespace {

constexpr std::string_view kCombined =
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent "
    "\"$http_referer\" \"$http_user_agent\"";

// The wall clock as text, formatted once a second: localtime_r takes a lock and strftime is slow.
class SecondText {
 public:
  void Update(WallTime now) {
    const auto second = std::chrono::floor<seconds>(now.time_since_epoch()).count();
    if (second == second_) return;
    second_ = second;
    const auto time = static_cast<std::time_t>(second);
    std::tm parts{};
    gmtime_r(&time, &parts);
    utc_ = Format("%Y-%m-%dT%H:%M:%S", parts);
    localtime_r(&time, &parts);
    std::string zone = Format("%z", parts);
    // Not %b: month names must not follow the locale.
    constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
    clf_ = Format("%d/", parts);
    clf_ += kMonths.substr(static_cast<size_t>(parts.tm_mon) * 3, 3);
    clf_ += Format("/%Y:%H:%M:%S ", parts) + zone;
    iso_ = Format("%Y-%m-%dT%H:%M:%S", parts) + zone.insert(3, ":");
  }

  std::string_view clf() const { return clf_; }  // 21/Nov/2026:13:04:28 +0000
  std::string_view iso() const { return iso_; }  // 2026-11-21T13:04:28+00:00
  std::string_view utc() const { return utc_; }  // 2026-11-21T13:04:28

 private:
  static std::string Format(const char* format, const std::tm& parts) {
    char text[64];
    return {text, std::strftime(text, sizeof(text), format, &parts)};
  }

  int64_t second_ = std::numeric_limits<int64_t>::min();
  std::string clf_;
  std::string iso_;
  std::string utc_;
};

// What a line is made of.
struct Line {
  const AccessRecord& record;
  const RequestView& request;
  const SecondText& second;
  WallTime now;
};

using AppendField = void (*)(std::string& out, const Line& line);

// Escapes what nginx does by default: the quote, the backslash, controls and everything from DEL
// on.
void AppendEscaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  while (!text.empty()) {
    const size_t plain = PlainLength(text);
    out.append(text.data(), plain);
    if (plain == text.size()) return;
    const auto byte = static_cast<unsigned char>(text[plain]);
    const char escape[] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    out.append(escape, sizeof(escape));
    text.remove_prefix(plain + 1);
  }
}

// "-" for what the request does not have, as in nginx.
void AppendOrDash(std::string& out, std::string_view text) {
  if (text.data() == nullptr) {
    out += '-';
  } else {
    AppendEscaped(out, text);
  }
}

constexpr uint64_t Power10(size_t exponent) {
  uint64_t power = 1;
  while (exponent-- > 0) power *= 10;
  return power;
}

// Writes the last `kDigits` digits of a number, zeros in front. Returns the end.
template <size_t kDigits>
char* WriteDigits(char* out, uint64_t value) {
  for (size_t i = kDigits; i-- > 0; value /= 10) out[i] = static_cast<char>('0' + value % 10);
  return out + kDigits;
}

template <size_t kDigits>
void AppendDigits(std::string& out, uint64_t value) {
  char digits[kDigits];
  WriteDigits<kDigits>(digits, value);
  out.append(digits, kDigits);
}

// "12.345" for three digits; truncated, not rounded. Below zero (a clock that was set) is zero.
template <size_t kDigits>
void AppendSeconds(std::string& out, Duration time) {
  const auto nanos = static_cast<uint64_t>(std::max<int64_t>(time.count(), 0));
  char text[32];
  char* end = std::to_chars(text, text + sizeof(text), nanos / Power10(9)).ptr;
  *end++ = '.';
  end = WriteDigits<kDigits>(end, nanos % Power10(9) / Power10(9 - kDigits));
  out.append(text, end);
}

void AppendHex(std::string& out, uint64_t value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  char digits[16];
  for (size_t i = sizeof(digits); i-- > 0; value >>= 4) digits[i] = kHex[value & 15];
  out.append(digits, sizeof(digits));
}

void AppendRequestId(std::string& out, const Line& line) {
  AppendHex(out, line.record.id_high);
  AppendHex(out, line.record.id_low);
}

std::string_view VersionName(HttpVersion version) {
  switch (version) {
    case HttpVersion::kHttp10:
      return "HTTP/1.0";
    case HttpVersion::kHttp11:
      return "HTTP/1.1";
    case HttpVersion::kHttp2:
      return "HTTP/2.0";
  }
  return {};
}

// An address only: nothing in it needs escaping. A client on a UNIX socket has none.
void AppendClient(std::string& out, const Line& line) {
  if (line.request.client_ip.is_none()) {
    out += "unix:";
  } else {
    line.request.client_ip.AppendTo(out);
  }
}

void AppendRequestLine(std::string& out, const Line& line) {
  const RequestHead& head = *line.request.head;
  if (head.method_text.empty()) {  // malformed: no request line was understood
    out += '-';
    return;
  }
  AppendEscaped(out, head.method_text);
  out += ' ';
  AppendEscaped(out, head.target);
  out += ' ';
  out += VersionName(head.version);
}

int Base64Value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// The user of Basic credentials (RFC 7617), decoded straight into the line up to the colon. The
// password is never decoded. "-" when there is no user or no colon.
void AppendRemoteUser(std::string& out, const Line& line) {
  const std::string_view header = line.request.head->fields.Value(HeaderId::kAuthorization);
  constexpr std::string_view kScheme = "Basic ";
  const size_t begin = out.size();
  uint32_t bits = 0;
  int count = 0;
  if (EqualsIgnoreCase(header.substr(0, kScheme.size()), kScheme)) {
    for (const char c : TrimOws(header.substr(kScheme.size()))) {
      const int value = Base64Value(c);
      if (value < 0) break;
      bits = bits << 6 | static_cast<uint32_t>(value);
      count += 6;
      if (count < 8) continue;
      count -= 8;
      const char byte = static_cast<char>(bits >> count & 0xff);
      if (byte == ':' && out.size() > begin) return;
      if (byte == ':') break;
      AppendEscaped(out, {&byte, 1});
    }
  }
  out.resize(begin);
  out += '-';
}

// A time of the upstream: "-" unless `known`.
void AppendUpstreamTime(std::string& out, Duration time, bool known) {
  if (known) {
    AppendSeconds<3>(out, time);
  } else {
    out += '-';
  }
}

std::string_view NullIfEmpty(std::string_view text) {
  return text.empty() ? std::string_view() : text;
}

struct NamedField {
  std::string_view name;
  AppendField append;
};

constexpr auto kFields = std::to_array<NamedField>({
    {"attempts", [](std::string& out, const Line& l) { AppendDecimal(out, l.record.attempts); }},
    {"body_bytes_sent",
     [](std::string& out, const Line& l) { AppendDecimal(out, l.record.body_bytes_out); }},
    {"bytes_sent", [](std::string& out, const Line& l) { AppendDecimal(out, l.record.bytes_out); }},
    {"connection",
     [](std::string& out, const Line& l) { AppendDecimal(out, l.record.connection_id); }},
    {"connection_requests",
     [](std::string& out, const Line& l) { AppendDecimal(out, l.record.request_number); }},
    {"msec",
     [](std::string& out, const Line& l) { AppendSeconds<3>(out, l.now.time_since_epoch()); }},
    {"reason", [](std::string& out, const Line& l) { out += ReasonName(l.record.reason); }},
    {"remote_addr", AppendClient},
    {"remote_user", AppendRemoteUser},
    {"request", AppendRequestLine},
    {"request_id", AppendRequestId},
    {"request_length",
     [](std::string& out, const Line& l) { AppendDecimal(out, l.record.bytes_in); }},
    {"request_time", [](std::string& out, const Line& l) { AppendSeconds<3>(out, l.record.total); }},
    {"route_id",
     [](std::string& out, const Line& l) { AppendOrDash(out, NullIfEmpty(l.record.route_id)); }},
    {"status",
     [](std::string& out, const Line& l) {
       AppendDigits<3>(out, static_cast<uint64_t>(std::max(l.record.status, 0)));
     }},
    {"time_iso8601", [](std::string& out, const Line& l) { out += l.second.iso(); }},
    {"time_local", [](std::string& out, const Line& l) { out += l.second.clf(); }},
    {"upstream_addr",
     [](std::string& out, const Line& l) { AppendOrDash(out, NullIfEmpty(l.record.node)); }},
    {"upstream_connect_time",
     [](std::string& out, const Line& l) {
       AppendUpstreamTime(out, l.record.connect, l.record.attempts > 0);
     }},
    {"upstream_header_time",
     [](std::string& out, const Line& l) {
       AppendUpstreamTime(out, l.record.ttfb, l.record.upstream_status > 0);
     }},
    {"upstream_key",
     [](std::string& out, const Line& l) {
       AppendOrDash(out, NullIfEmpty(l.record.upstream_key));
     }},
    {"upstream_response_time",
     [](std::string& out, const Line& l) {
       AppendUpstreamTime(out, l.record.upstream, l.record.attempts > 0);
     }},
    {"upstream_status",
     [](std::string& out, const Line& l) {
       if (l.record.upstream_status > 0) {
         AppendDecimal(out, static_cast<uint64_t>(l.record.upstream_status));
       } else {
         out += '-';
       }
     }},
});

void AppendJsonText(std::string& out, std::string_view key, std::string_view value) {
  out += key;
  if (value.empty()) {
    out += "null";
  } else {
    JsonWriter(out).String(value);
  }
}

void AppendJsonNumber(std::string& out, std::string_view key, uint64_t value) {
  out += key;
  AppendDecimal(out, value);
}

void AppendJsonSeconds(std::string& out, std::string_view key, Duration time) {
  out += key;
  AppendSeconds<6>(out, time);
}

// Keys are literals that carry their own punctuation: no key is escaped at run time.
void AppendJson(std::string& out, const Line& line) {
  const AccessRecord& record = line.record;
  const RequestHead& head = *line.request.head;
  const bool understood = !head.method_text.empty();
  const Duration fraction = line.now.time_since_epoch() % seconds(1);
  out += "{\"ts\":\"";
  out += line.second.utc();
  out += '.';
  AppendDigits<6>(out, static_cast<uint64_t>(fraction / microseconds(1)));
  out += "Z\",\"id\":\"";
  AppendRequestId(out, line);
  out += "\",\"client\":\"";
  AppendClient(out, line);
  AppendJsonText(out, "\",\"method\":", head.method_text);
  AppendJsonText(out, ",\"host\":", line.request.host);
  AppendJsonText(out, ",\"path\":", line.request.path);
  AppendJsonText(out, ",\"proto\":", understood ? VersionName(head.version) : std::string_view());
  AppendJsonNumber(out, ",\"status\":", static_cast<uint64_t>(std::max(record.status, 0)));
  AppendJsonNumber(out, ",\"bytes_in\":", record.bytes_in);
  AppendJsonNumber(out, ",\"bytes_out\":", record.bytes_out);
  AppendJsonText(out, ",\"route\":", record.route_id);
  AppendJsonText(out, ",\"upstream\":", record.upstream_key);
  AppendJsonText(out, ",\"node\":", record.node);
  AppendJsonNumber(out, ",\"attempts\":", record.attempts);
  out += ",\"reason\":\"";
  out += ReasonName(record.reason);
  AppendJsonSeconds(out, "\",\"t\":{\"total\":", record.total);
  AppendJsonSeconds(out, ",\"connect\":", record.connect);
  AppendJsonSeconds(out, ",\"ttfb\":", record.ttfb);
  AppendJsonSeconds(out, ",\"upstream\":", record.upstream);
  out += "}}";
}

// Literal text and the field that follows it; neither of the two at the end of a template.
struct Piece {
  std::string literal;
  AppendField field = nullptr;
  std::optional<Variable> variable;
};

Error FormatError(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

Error UnknownVariable(std::string_view name, const Error& of_request) {
  constexpr size_t kClose = 2;
  size_t best = kClose + 1;
  std::string_view closest;
  for (const NamedField& field : kFields) {
    const size_t distance = EditDistance(name, field.name, kClose);
    if (distance < best) {
      best = distance;
      closest = field.name;
    }
  }
  if (closest.empty()) return of_request;
  return FormatError("unknown variable \"" + std::string(name) + "\"; did you mean " +
                     std::string(closest) + "?");
}

// The field named `name`: one of the exchange (above) or of the request (http/variables.h).
Status Bind(Piece& piece, std::string_view name) {
  const auto* field = std::find_if(kFields.begin(), kFields.end(),
                                   [&](const NamedField& known) { return known.name == name; });
  if (field != kFields.end()) {
    piece.field = field->append;
    return {};
  }
  Result<Variable> variable = Variable::Make(name);
  if (!variable) return UnknownVariable(name, variable.error());
  if (variable->needs_body()) {
    return FormatError("\"$" + std::string(name) + "\" cannot be logged: bodies are not kept");
  }
  piece.variable = *std::move(variable);
  return {};
}

Result<std::vector<Piece>> CompileTemplate(std::string_view format) {
  if (format.find_first_of("\r\n") != std::string_view::npos) {
    return FormatError("expected a template of one line, got a line break in it");
  }
  const auto parts = SplitTemplate(format);
  if (!parts) return FormatError("access log format, " + parts.error().detail);
  std::vector<Piece> pieces;
  for (const TemplatePart& part : *parts) {
    Piece& piece = pieces.emplace_back();
    piece.literal = part.literal;
    if (part.variable.empty()) break;
    if (const Status bound = Bind(piece, part.variable); !bound) {
      return FormatError("access log format, column " + std::to_string(part.column) + ": " +
                         bound.error().detail);
    }
  }
  return pieces;
}

const RequestView& NoRequest() {
  static const RequestHead kHead;
  static const RequestView kView = [] {
    RequestView none;
    none.head = &kHead;
    return none;
  }();
  return kView;
}

}  // namespace

struct AccessLogFormat::Compiled {
  std::vector<Piece> pieces;  // empty: JSON
  SecondText second;
  std::string scratch;  // of computed variables
};

AccessLogFormat::AccessLogFormat(std::unique_ptr<Compiled> compiled)
    : compiled_(std::move(compiled)) {}
AccessLogFormat::~AccessLogFormat() = default;
AccessLogFormat::AccessLogFormat(AccessLogFormat&&) noexcept = default;
AccessLogFormat& AccessLogFormat::operator=(AccessLogFormat&&) noexcept = default;

Result<AccessLogFormat> AccessLogFormat::Make(std::string_view format) {
  auto compiled = std::make_unique<Compiled>();
  if (format == "combined") format = kCombined;
  if (format != "json") {
    if (format.find('$') == std::string_view::npos) {
      return FormatError("expected \"combined\", \"json\" or a template with $variables, got \"" +
                         std::string(format) + "\"");
    }
    SLUICE_ASSIGN_OR_RETURN(compiled->pieces, CompileTemplate(format));
  }
  return AccessLogFormat(std::move(compiled));
}

void AccessLogFormat::Append(std::string& out, const AccessRecord& record, WallTime now) const {
  compiled_->second.Update(now);
  const bool has_head = record.request != nullptr && record.request->head != nullptr;
  const Line line{record, has_head ? *record.request : NoRequest(), compiled_->second, now};
  if (compiled_->pieces.empty()) AppendJson(out, line);
  for (const Piece& piece : compiled_->pieces) {
    out += piece.literal;
    if (piece.field != nullptr) {
      piece.field(out, line);
    } else if (piece.variable) {
      AppendOrDash(out, piece.variable->Value(line.request, compiled_->scratch));
    }
  }
  out += '\n';
}

}  // namespace sluice
