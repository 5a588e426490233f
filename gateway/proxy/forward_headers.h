// Writes the heads that leave: the request to the upstream, the response to the client. Hop-by-hop
// fields end here (RFC 9110 7.6.1), forwarding fields are set, framing is written from what was
// parsed and never copied. The result lies in the arena that is given (the turn's scratch).
#pragma once

#include <cstddef>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/http/message.h"
#include "gateway/http/request_view.h"

namespace sluice {

struct UpstreamHeadOptions {
  std::string_view host;     // the Host to send
  std::string_view via;      // our pseudonym; empty: no Via
  uint16_t server_port = 0;  // of the listener
  bool peer_is_trusted = false;
};

// The HTTP/1.1 request head for one attempt.
std::string_view WriteUpstreamHead(const RequestView& request, const UpstreamHeadOptions& options,
                                   Arena& arena);

struct ClientHeadOptions {
  std::string_view date{};  // used when the response has none
  std::string_view via{};
  BodyFraming framing{};  // how the body will be sent to this client
  bool close = false;     // Connection: close
  bool informational = false;
};

// The HTTP/1.1 status line and fields for the client.
std::string_view WriteClientHead(const ResponseHead& response, const ClientHeadOptions& options,
                                 Arena& arena);

// Trailer fields that may be forwarded, as lines; without the final empty line.
std::string_view WriteTrailers(const HeaderList& trailers, Arena& arena);

// The size line in front of a chunk.
std::string_view WriteChunkHead(size_t size, Arena& arena);

}  // namespace sluice
