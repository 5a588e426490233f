// Where the frames of one direction of a WebSocket end (RFC 6455 5.2), so that one more can be put
// behind them. Looks at frame headers only, in any pieces; payloads are skipped.
//
//   FIN+opcode │ MASK+length │ 0, 2 or 8 bytes of length │ 0 or 4 of mask │ payload
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice {

class WebSocketFrames {
 public:
  // Close with 1001 "going away", from a server: not masked.
  static constexpr std::string_view kGoingAway = "\x88\x02\x03\xe9";

  // The next bytes of that direction.
  void Skip(std::string_view bytes);

  // May another frame follow? Not inside a frame, and not behind a Close.
  bool may_add() const { return position_ == 0 && payload_left_ == 0 && !closed_; }

 private:
  void TakeHeaderByte(uint8_t byte);

  uint64_t payload_left_ = 0;
  // Of the frame whose header is being read; 0 of it have come between frames.
  uint8_t position_ = 0;
  uint8_t header_size_ = 0;  // known from the second byte on, like the next two
  uint8_t length_size_ = 0;
  uint64_t length_ = 0;
  bool closed_ = false;
};

}  // namespace sluice
