// The answer to a WebSocket key (RFC 6455 4.2.2). Here because it takes a digest of OpenSSL.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// What Sec-WebSocket-Accept must be when Sec-WebSocket-Key was `key`.
std::string WebSocketAccept(std::string_view key);

}  // namespace sluice
