// The header of the PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): who
// the client of a proxy is, said once at the beginning of a connection. Pure functions over bytes;
// what a header may change is decided by whoever owns the connection.
//
//   v1: PROXY TCP4 192.0.2.1 198.51.100.7 4711 443 CRLF
//   v2: | signature 12 | version, command | family, transport | length u16 | addresses | TLVs |
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/base/address.h"
#include "gateway/base/result.h"

namespace sluice {

struct ProxyHeader {
  // Longer ones are refused: the protocol's own limit, and one that leaves room for certificates'
  // names in TLVs.
  static constexpr size_t kMaxSizeV1 = 107;
  static constexpr size_t kMaxSizeV2 = 4096;

  enum class State : uint8_t {
    kNeedMore,  // what came may become a header
    kAbsent,    // what came can not: the connection begins with something else
    kComplete,
  };

  State state = State::kNeedMore;
  size_t size = 0;             // of the complete header, in bytes
  bool has_addresses = false;  // false: LOCAL, UNKNOWN or a kind that says nothing about TCP
  SocketAddress source;        // the client
  SocketAddress destination;   // what it connected to
};

// Looks at everything that came on the connection so far, at most kMaxSizeV2 bytes. Cheap until the
// header is complete, so it may be asked after each piece. Errors: a header that breaks the
// protocol, is longer than allowed, or whose checksum (CRC32c TLV) does not match.
Result<ProxyHeader> ParseProxyHeader(std::string_view received);

// The header of `version` 1 or 2 that names `source` as the client. Addresses of two families are
// both written as IPv6 ones; without two IP addresses the header says that nothing is known.
std::string WriteProxyHeader(int version, const SocketAddress& source,
                             const SocketAddress& destination);

}  // namespace sluice
