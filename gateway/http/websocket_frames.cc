#include "gateway/http/websocket_frames.h"

#include <algorithm>

namespace sluice {

void WebSocketFrames::Skip(std::string_view bytes) {
  while (!bytes.empty()) {
    if (payload_left_ > 0) {
      const auto skipped = static_cast<size_t>(std::min<uint64_t>(payload_left_, bytes.size()));
      payload_left_ -= skipped;
      bytes.remove_prefix(skipped);
    } else {
      TakeHeaderByte(static_cast<uint8_t>(bytes.front()));
      bytes.remove_prefix(1);
    }
  }
}

void WebSocketFrames::TakeHeaderByte(uint8_t byte) {
  constexpr uint8_t kOpcode = 0x0f;
  constexpr uint8_t kClose = 8;
  constexpr uint8_t kMask = 0x80;
  constexpr uint8_t kLength16 = 126;
  constexpr uint8_t kLength64 = 127;
  if (position_ == 0) {
    if ((byte & kOpcode) == kClose) closed_ = true;
    position_ = 1;
    return;
  }
  if (position_ == 1) {
    const uint8_t length = byte & ~kMask;
    length_size_ = length == kLength64 ? 8 : length == kLength16 ? 2 : 0;
    header_size_ = static_cast<uint8_t>(2 + length_size_ + ((byte & kMask) != 0 ? 4 : 0));
    length_ = length_size_ == 0 ? length : 0;
  } else if (position_ < 2 + length_size_) {
    length_ = (length_ << 8) | byte;
  }
  if (++position_ < header_size_) return;
  position_ = 0;
  payload_left_ = length_;
}

}  // namespace sluice
