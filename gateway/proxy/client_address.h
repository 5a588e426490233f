// Who the client is when proxies stand before us (semantics: forwarding headers and trust).
#pragma once

#include <span>

#include "gateway/base/address.h"
#include "gateway/http/headers.h"

namespace sluice {

struct ClientAddress {
  IpAddress ip;
  bool peer_is_trusted = false;  // the peer's forwarding fields may be kept
};

bool IsTrusted(const IpAddress& ip, std::span<const Cidr> trusted);

// The peer itself, or, when the peer is trusted, the first untrusted address of X-Forwarded-For
// from the right; a malformed element ends the walk at the last good one. A UNIX-socket peer (none)
// is trusted when "unix:" peers are local by nature: its fields are used as those of a trusted
// proxy only if `trusted` is not empty.
ClientAddress FindClientAddress(const IpAddress& peer, const HeaderList& fields,
                                std::span<const Cidr> trusted);

}  // namespace sluice
