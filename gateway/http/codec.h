// What a codec hands to the connection that owns it. Codecs translate bytes to events and know
// nothing of routes, plugins or sockets. Pull, not push: the owner calls Next until kNeedMore and
// acts between calls, so that no parser is on the stack when a connection is closed.
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/base/result.h"

namespace sluice {

enum class CodecEvent : uint8_t {
  kNeedMore,  // all input was consumed
  kHead,      // head() is complete and valid until the next message starts
  kData,      // data() is a piece of body, a view into the input
  kEnd,       // the message is complete; trailers() holds its trailer fields
  kError,     // error() says why; the codec accepts nothing more
};

struct CodecLimits {
  uint32_t request_line = 16 * 1024;  // request line bytes: 414
  uint32_t head = 64 * 1024;          // whole head: 431, or 502 for a response
  uint32_t fields = 200;              // header fields: 431
  uint32_t chunk_extension_line = 4 * 1024;
  uint32_t chunk_extensions = 16 * 1024;  // sum over a body
  uint32_t trailers = 16 * 1024;
  uint32_t informational = 16;  // 1xx responses before the final one
};

}  // namespace sluice
