// What leaves: the request to the upstream, the response to the client. Hop-by-hop fields end here
// (RFC 9110 7.6.1), forwarding fields are set, framing is written from what was parsed and never
// copied. The rules are in ForEach…Field, for any version; the Write functions make HTTP/1.1 heads
// of them, in the arena that is given (the turn's scratch).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/base/result.h"
#include "gateway/http/message.h"
#include "gateway/http/request_view.h"

namespace sluice {

// A request for one attempt.
struct UpstreamRequest {
  const RequestView& view;
  std::string_view host;     // the Host or :authority to send
  std::string_view via;      // our pseudonym; empty: no Via
  uint16_t server_port = 0;  // of the listener
  bool peer_is_trusted = false;
  bool upgrade = false;  // to a WebSocket
  bool own = false;      // of the gateway: its fields are complete
  // Instead of the client's, when a plugin has changed them; empty: the client's.
  std::string_view rewritten_method{};
  std::string_view rewritten_target{};

  std::string_view method_text() const {
    return rewritten_method.empty() ? view.head->method_text : rewritten_method;
  }
  Method method() const {
    return rewritten_method.empty() ? view.head->method : FindMethod(rewritten_method);
  }
};

struct ClientHeadOptions {
  std::string_view date{};  // used when the response has none
  std::string_view via{};
  BodyFraming framing{};  // how the body will be sent to this client
  bool close = false;     // Connection: close
  bool informational = false;
  bool upgrade = false;  // a 101: to a WebSocket
};

// May this request go further (RFC 9110 7.6)? Not when one of its Via fields names us, `pseudonym`
// (empty: we have no name), nor when nobody can tell how often an OPTIONS may be forwarded.
Status CheckForwarding(const RequestHead& head, std::string_view pseudonym);
// Must it be answered here because it has been forwarded as often as its sender wanted? Only
// OPTIONS (and TRACE, which nobody gets an answer to) is bound to Max-Forwards.
bool IsLastRecipient(const RequestHead& head);

// Of a request: emit(name, value) for each field but Host and framing. `arena` holds what is put
// together.
template <typename Emit>
void ForEachUpstreamField(const UpstreamRequest& request, Arena& arena, Emit emit);

// Of a response: the same, but framing and Connection.
template <typename Emit>
void ForEachClientField(const ResponseHead& response, const ClientHeadOptions& options,
                        Arena& arena, Emit emit);

// The HTTP/1.1 request head.
std::string_view WriteUpstreamHead(const UpstreamRequest& request, Arena& arena);

// The HTTP/1.1 status line and fields for the client.
std::string_view WriteClientHead(const ResponseHead& response, const ClientHeadOptions& options,
                                 Arena& arena);

// Trailer fields that may be forwarded, as lines; without the final empty line.
std::string_view WriteTrailers(const HeaderList& trailers, Arena& arena);

// The size line in front of a chunk.
std::string_view WriteChunkHead(size_t size, Arena& arena);

// Of a response without a body, to HEAD or with 304: it may still say how long the body would be
// (RFC 9110 8.6).
BodyFraming HeaderOnlyFraming(const ResponseHead& head);

// Fields that concern one connection only, whatever Connection says; and Content-Length, which is
// written from the parsed framing.
bool IsHopByHop(HeaderId id);
// Fields that we set: a client's own are taken over only from a trusted peer.
bool IsForwardingField(HeaderId id);

// Is a field named by Connection? Fields that carry meaning end to end (all that we know by id, and
// what plugins set, such as the consumer's name) are kept even then: naming them is an attack, not
// a hop-by-hop option.
class ConnectionOptions {
 public:
  explicit ConnectionOptions(const HeaderList& fields);
  bool Names(const HeaderField& field) const {
    return names_fields_ && field.id == HeaderId::kOther && !field.by_plugin &&
           IsListed(field.name);
  }

 private:
  bool IsListed(std::string_view name) const;

  const HeaderList& fields_;
  bool names_fields_;
};

// The values of forwarding fields.
std::string_view ForwardedFor(const UpstreamRequest& request, Arena& arena);
std::string_view NumberText(uint64_t number, Arena& arena);
std::string_view OneLess(std::string_view max_forwards, Arena& arena);
std::string_view ViaText(HttpVersion received, std::string_view pseudonym, Arena& arena);

template <typename Emit>
void ForEachUpstreamField(const UpstreamRequest& request, Arena& arena, Emit emit) {
  const RequestHead& head = *request.view.head;
  const HeaderList& fields = head.fields;
  const ConnectionOptions connection(fields);
  bool by_plugin = false;
  for (const HeaderField& field : fields) {
    if (field.id == HeaderId::kOther
            ? connection.Names(field)
            : IsHopByHop(field.id) || (IsForwardingField(field.id) && !field.by_plugin) ||
                  field.id == HeaderId::kHost || field.id == HeaderId::kProxy) {
      continue;
    }
    by_plugin |= field.by_plugin;
    const bool counts = field.id == HeaderId::kMaxForwards && head.method == Method::kOptions;
    emit(field.name, counts ? OneLess(field.value, arena) : field.value);
  }
  if (request.own) return;
  const bool keep = request.peer_is_trusted;
  // A plugin's own stand above already.
  const auto is_set = [&](HeaderId id) {
    const HeaderField* const field = by_plugin ? fields.Find(id) : nullptr;
    return field != nullptr && field->by_plugin;
  };
  const auto set = [&](HeaderId id, std::string_view name, std::string_view value) {
    if (!is_set(id)) emit(name, keep && fields.Has(id) ? fields.Value(id) : value);
  };
  if (!is_set(HeaderId::kXRealIp)) emit(std::string_view("X-Real-IP"), request.view.client_text);
  if (!is_set(HeaderId::kXForwardedFor)) {
    emit(std::string_view("X-Forwarded-For"), ForwardedFor(request, arena));
  }
  set(HeaderId::kXForwardedProto, "X-Forwarded-Proto", request.view.scheme);
  set(HeaderId::kXForwardedHost, "X-Forwarded-Host", head.authority);
  set(HeaderId::kXForwardedPort, "X-Forwarded-Port", NumberText(request.server_port, arena));
  if (keep && fields.Has(HeaderId::kForwarded) && !is_set(HeaderId::kForwarded)) {
    for (const HeaderField& field : fields) {
      if (field.id == HeaderId::kForwarded) emit(std::string_view("Forwarded"), field.value);
    }
  }
  if (!request.via.empty()) {
    emit(std::string_view("Via"), ViaText(head.version, request.via, arena));
  }
}

template <typename Emit>
void ForEachClientField(const ResponseHead& response, const ClientHeadOptions& options,
                        Arena& arena, Emit emit) {
  const ConnectionOptions connection(response.fields);
  for (const HeaderField& field : response.fields) {
    if (field.id != HeaderId::kOther ? IsHopByHop(field.id) : connection.Names(field)) continue;
    emit(field.name, field.value);
  }
  if (options.informational) return;
  if (!response.fields.Has(HeaderId::kDate)) emit(std::string_view("Date"), options.date);
  if (!options.via.empty()) {
    emit(std::string_view("Via"), ViaText(response.version, options.via, arena));
  }
}

}  // namespace sluice
