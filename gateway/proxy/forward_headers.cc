#include "gateway/proxy/forward_headers.h"

#include <charconv>
#include <cstring>

#include "gateway/base/text.h"
#include "gateway/http/hygiene.h"
#include "gateway/proxy/error_reply.h"

namespace sluice {
namespace {

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

// Fields that concern one connection only, whatever Connection says.
bool IsHopByHop(HeaderId id) {
  switch (id) {
    case HeaderId::kConnection:
    case HeaderId::kKeepAlive:
    case HeaderId::kProxyConnection:
    case HeaderId::kTe:
    case HeaderId::kTransferEncoding:
    case HeaderId::kUpgrade:
    case HeaderId::kHttp2Settings:
    case HeaderId::kContentLength:  // written from the parsed framing
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

// Is the field named by Connection? Fields that carry meaning end to end (all that we know by id)
// are kept even then: naming them is an attack (reliability row 43), not a hop-by-hop option.
class ConnectionOptions {
 public:
  explicit ConnectionOptions(const HeaderList& fields) : fields_(fields) {
    const std::string_view value = fields.Value(HeaderId::kConnection);
    names_fields_ = fields.Count(HeaderId::kConnection) > 1 ||
                    !(value.empty() || EqualsIgnoreCase(value, "keep-alive") ||
                      EqualsIgnoreCase(value, "close"));
  }
  bool Names(const HeaderField& field) const {
    if (!names_fields_ || field.id != HeaderId::kOther) return false;
    for (const HeaderField& other : fields_) {
      if (other.id == HeaderId::kConnection && ListContains(other.value, field.name)) return true;
    }
    return false;
  }

 private:
  const HeaderList& fields_;
  bool names_fields_;
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

void PutForwardedFor(HeadWriter& out, const RequestView& request, bool keep,
                     std::string_view peer) {
  out.Put("X-Forwarded-For: ");
  if (keep) {
    for (const HeaderField& field : request.head->fields) {
      if (field.id == HeaderId::kXForwardedFor) out.Put(field.value).Put(", ");
    }
  }
  out.Put(peer).Put("\r\n");
}

void PutForwarding(HeadWriter& out, const RequestView& request,
                   const UpstreamHeadOptions& options) {
  const HeaderList& fields = request.head->fields;
  const bool keep = options.peer_is_trusted;
  out.Field("X-Real-IP", request.client_text);
  PutForwardedFor(out, request, keep, request.peer_text);
  const auto put = [&](HeaderId id, std::string_view name, std::string_view value) {
    out.Field(name, keep && fields.Has(id) ? fields.Value(id) : value);
  };
  put(HeaderId::kXForwardedProto, "X-Forwarded-Proto", request.scheme);
  put(HeaderId::kXForwardedHost, "X-Forwarded-Host", request.head->authority);
  char port[8];
  const auto end = std::to_chars(port, port + sizeof(port), options.server_port).ptr;
  put(HeaderId::kXForwardedPort, "X-Forwarded-Port", {port, static_cast<size_t>(end - port)});
  if (keep && fields.Has(HeaderId::kForwarded)) {
    for (const HeaderField& field : fields) {
      if (field.id == HeaderId::kForwarded) out.Field("Forwarded", field.value);
    }
  }
}

}  // namespace

std::string_view WriteUpstreamHead(const RequestView& request, const UpstreamHeadOptions& options,
                                   Arena& arena) {
  const RequestHead& head = *request.head;
  // Every piece that is written below, plus fixed names and numbers.
  const size_t bound = head.method_text.size() + request.path.size() + head.query.size() +
                       options.host.size() + head.authority.size() + options.via.size() +
                       FieldsBound(head.fields) + 512;
  HeadWriter out(arena, bound);
  out.Put(head.method_text).Put(" ").Put(request.path);
  if (head.has_query) out.Put("?").Put(head.query);
  out.Put(" HTTP/1.1\r\n").Field("Host", options.host);
  const ConnectionOptions connection(head.fields);
  for (const HeaderField& field : head.fields) {
    if (field.id != HeaderId::kOther) {
      if (IsHopByHop(field.id) || IsForwardingField(field.id) || field.id == HeaderId::kHost ||
          field.id == HeaderId::kProxy) {
        continue;
      }
    } else if (connection.Names(field)) {
      continue;
    }
    out.Field(field.name, field.value);
  }
  PutForwarding(out, request, options);
  if (!options.via.empty()) {
    out.Put(head.version == HttpVersion::kHttp10 ? "Via: 1.0 " : "Via: 1.1 ");
    out.Put(options.via).Put("\r\n");
  }
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
  const ConnectionOptions connection(response.fields);
  for (const HeaderField& field : response.fields) {
    if (field.id != HeaderId::kOther ? IsHopByHop(field.id) : connection.Names(field)) continue;
    out.Field(field.name, field.value);
  }
  if (options.informational) return out.Put("\r\n").Finish();
  if (!response.fields.Has(HeaderId::kDate)) out.Field("Date", options.date);
  if (!options.via.empty()) out.Put("Via: 1.1 ").Put(options.via).Put("\r\n");
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

std::string_view WriteChunkHead(size_t size, Arena& arena) {
  constexpr size_t kBound = 18;  // 16 hex digits and CRLF
  char* out = arena.Allocate(kBound);
  char* end = std::to_chars(out, out + 16, size, 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  return {out, static_cast<size_t>(end - out)};
}

}  // namespace sluice
