#include "gateway/proxy/forward_headers.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/proxy/error_reply.h"

namespace sluice {
namespace {

constexpr std::string_view kUpgradeFields = "Upgrade: websocket\r\nConnection: upgrade\r\n";

// A cursor over memory that was allocated large enough before.
class HeadWriter {
 public:
  HeadWriter(Arena& arena, size_t bound) : start_(arena.Allocate(bound)), next_(start_) {}

  HeadWriter& Put(std::string_view text) {
    if (!text.empty()) std::memcpy(next_, text.data(), text.size());
    next_ += text.size();
    return *this;
  }
  HeadWriter& PutNumber(uint64_t value) {
    next_ = std::to_chars(next_, next_ + 20, value).ptr;
    return *this;
  }
  HeadWriter& Field(std::string_view name, std::string_view value) {
    return Put(name).Put(": ").Put(value).Put("\r\n");
  }
  std::string_view Finish() const { return {start_, static_cast<size_t>(next_ - start_)}; }

 private:
  char* start_;
  char* next_;
};

size_t FieldsBound(const HeaderList& fields) {
  size_t bound = 0;
  for (const HeaderField& field : fields) bound += field.name.size() + field.value.size() + 4;
  return bound;
}

void PutFraming(HeadWriter& out, const BodyFraming& framing) {
  if (framing.kind == BodyFraming::Kind::kLength) {
    out.Put("Content-Length: ").PutNumber(framing.length).Put("\r\n");
  } else if (framing.kind == BodyFraming::Kind::kChunked) {
    out.Put("Transfer-Encoding: chunked\r\n");
  }
}

// Is `name` the received-by of a member, as in "1.1 name (comment)"? The port belongs to it.
bool ViaNames(std::string_view via, std::string_view name) {
  for (const std::string_view member : Split(via, ',')) {
    const std::string_view words = TrimOws(member);
    const std::string_view by = TrimOws(words.substr(std::min(words.find(' '), words.size())));
    if (EqualsIgnoreCase(by.substr(0, by.find_first_of(" \t(")), name)) return true;
  }
  return false;
}

}  // namespace

bool IsHopByHop(HeaderId id) {
  switch (id) {
    case HeaderId::kConnection:
    case HeaderId::kKeepAlive:
    case HeaderId::kProxyConnection:
    case HeaderId::kTe:
    case HeaderId::kTransferEncoding:
    case HeaderId::kUpgrade:
    case HeaderId::kHttp2Settings:
    case HeaderId::kContentLength:
      return true;
    default:
      return false;
  }
}

bool IsForwardingField(HeaderId id) {
  switch (id) {
    case HeaderId::kForwarded:
    case HeaderId::kXForwardedFor:
    case HeaderId::kXForwardedHost:
    case HeaderId::kXForwardedPort:
    case HeaderId::kXForwardedProto:
    case HeaderId::kXRealIp:
      return true;
    default:
      return false;
  }
}

Status CheckForwarding(const RequestHead& head, std::string_view pseudonym) {
  for (const HeaderField& field : head.fields) {
    if (field.id == HeaderId::kVia && !pseudonym.empty() && ViaNames(field.value, pseudonym)) {
      return GatewayError(
          ErrorCode::kLoopDetected,
          "the request has passed \"" + std::string(pseudonym) + "\" before, as Via says");
    }
  }
  const HeaderField* count = head.fields.Find(HeaderId::kMaxForwards);
  if (head.method != Method::kOptions || count == nullptr) return {};
  if (head.fields.Count(HeaderId::kMaxForwards) == 1 && ParseDecimal(count->value)) return {};
  return ClientError(ErrorCode::kMalformedRequest, "expected one Max-Forwards of decimal digits");
}

bool IsLastRecipient(const RequestHead& head) {
  return head.method == Method::kOptions && head.fields.Has(HeaderId::kMaxForwards) &&
         ParseDecimal(head.fields.Value(HeaderId::kMaxForwards)) == 0u;
}

std::string_view OneLess(std::string_view max_forwards, Arena& arena) {
  const uint64_t count = ParseDecimal(max_forwards).value_or(1);
  return NumberText(count - std::min<uint64_t>(count, 1), arena);
}

ConnectionOptions::ConnectionOptions(const HeaderList& fields) : fields_(fields) {
  const std::string_view value = fields.Value(HeaderId::kConnection);
  names_fields_ =
      fields.Count(HeaderId::kConnection) > 1 ||
      !(value.empty() || EqualsIgnoreCase(value, "keep-alive") || EqualsIgnoreCase(value, "close"));
}

bool ConnectionOptions::IsListed(std::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(), [name](const HeaderField& field) {
    return field.id == HeaderId::kConnection && ListContains(field.value, name);
  });
}

std::string_view ForwardedFor(const UpstreamRequest& request, Arena& arena) {
  const HeaderList& fields = request.view.head->fields;
  const std::string_view peer = request.view.peer_text;
  if (!request.peer_is_trusted || !fields.Has(HeaderId::kXForwardedFor)) return peer;
  HeadWriter out(arena, FieldsBound(fields) + peer.size());
  for (const HeaderField& field : fields) {
    if (field.id == HeaderId::kXForwardedFor) out.Put(field.value).Put(", ");
  }
  return out.Put(peer).Finish();
}

std::string_view NumberText(uint64_t number, Arena& arena) {
  constexpr size_t kDigits = 20;
  char* text = arena.Allocate(kDigits);
  return {text, static_cast<size_t>(std::to_chars(text, text + kDigits, number).ptr - text)};
}

std::string_view ViaText(HttpVersion received, std::string_view pseudonym, Arena& arena) {
  HeadWriter out(arena, pseudonym.size() + 4);
  out.Put(received == HttpVersion::kHttp10 ? "1.0 " : "1.1 ");
  return out.Put(pseudonym).Finish();
}

std::string_view WriteUpstreamHead(const UpstreamRequest& request, Arena& arena) {
  const RequestHead& head = *request.view.head;
  // Every piece that is written below, plus fixed names and numbers; forwarding values at most
  // twice.
  const size_t bound = request.method_text().size() + request.rewritten_target.size() +
                       request.view.path.size() + head.query.size() + request.host.size() +
                       head.authority.size() + request.via.size() + 2 * FieldsBound(head.fields) +
                       512;
  HeadWriter out(arena, bound);
  out.Put(request.method_text()).Put(" ");
  if (!request.rewritten_target.empty()) {
    out.Put(request.rewritten_target);
  } else {
    out.Put(request.view.path);
    if (head.has_query) out.Put("?").Put(head.query);
  }
  out.Put(" HTTP/1.1\r\n").Field("Host", request.host);
  ForEachUpstreamField(request, arena, [&out](std::string_view name, std::string_view value) {
    out.Field(name, value);
  });
  if (request.upgrade) out.Put(kUpgradeFields);
  PutFraming(out, head.body);
  return out.Put("\r\n").Finish();
}

std::string_view WriteClientHead(const ResponseHead& response, const ClientHeadOptions& options,
                                 Arena& arena) {
  const size_t bound = response.reason.size() + options.date.size() + options.via.size() +
                       FieldsBound(response.fields) + 256;
  HeadWriter out(arena, bound);
  out.Put("HTTP/1.1 ").PutNumber(static_cast<uint64_t>(response.status)).Put(" ");
  out.Put(response.reason.empty() ? StatusText(response.status) : response.reason).Put("\r\n");
  ForEachClientField(
      response, options, arena,
      [&out](std::string_view name, std::string_view value) { out.Field(name, value); });
  if (options.upgrade) out.Put(kUpgradeFields);
  if (options.informational) return out.Put("\r\n").Finish();
  PutFraming(out, options.framing);
  if (options.close) out.Put("Connection: close\r\n");
  return out.Put("\r\n").Finish();
}

std::string_view WriteTrailers(const HeaderList& trailers, Arena& arena) {
  HeadWriter out(arena, FieldsBound(trailers));
  for (const HeaderField& field : trailers) {
    if (IsForwardableTrailer(field.id, field.name)) out.Field(field.name, field.value);
  }
  return out.Finish();
}

BodyFraming HeaderOnlyFraming(const ResponseHead& head) {
  if (head.body.kind == BodyFraming::Kind::kLength) return head.body;
  const auto length = ParseDecimal(head.fields.Value(HeaderId::kContentLength));
  if (!length) return {};
  return {BodyFraming::Kind::kLength, *length};
}

std::string_view WriteChunkHead(size_t size, Arena& arena) {
  constexpr size_t kBound = 18;  // 16 hex digits and CRLF
  char* out = arena.Allocate(kBound);
  char* end = std::to_chars(out, out + 16, size, 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  return {out, static_cast<size_t>(end - out)};
}

}  // namespace sluice
