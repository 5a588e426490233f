// How much a peer may cost an HTTP/2 connection by frames that carry no message: each kind has a
// budget that refills with time, and with the useful traffic that explains such frames. Reads frame
// headers by itself, because the protocol library does not report every frame that it ignores.
// Part of an Http2Codec; told the time, has no clock.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gateway/base/time.h"

namespace sluice {

// What a peer did too much of. All of them end the connection with ENHANCE_YOUR_CALM.
enum class Http2Flood : uint8_t {
  kNone,
  kReset,         // streams reset by the peer, or by us because of what it sent on them
  kContinuation,  // a head in too many frames
  kPing,
  kSettings,
  kEmptyData,
  kPriority,
  kWindowUpdate,
  kUnknownFrame,
  kHeaders,      // a head that is far above its limit once decompressed
  kStall,        // streams whose response the peer asks for and does not take
  kAcknowledge,  // answers to PING and SETTINGS that the peer does not read
  kCount,
};

std::string_view Http2FloodName(Http2Flood flood);  // "reset", for logs and metrics

// A token bucket in one word: the time up to which tokens have been spent (GCRA).
class RateBudget {
 public:
  constexpr RateBudget() = default;
  constexpr RateBudget(uint32_t burst, uint32_t per_second)
      : period_(Duration(seconds(1)) / per_second), depth_(period_ * burst) {}

  // Spends one token; false: none is left.
  bool Take(MonoTime now) {
    spent_ = std::max(spent_, now) + period_;
    return spent_ - now <= depth_;
  }
  void Give(uint32_t tokens) { spent_ -= period_ * tokens; }

 private:
  Duration period_{};
  Duration depth_{};
  MonoTime spent_{};
};

class Http2FrameMeter {
 public:
  // `preface`: bytes in front of the first frame; only clients send one.
  explicit Http2FrameMeter(size_t preface);

  // Counts the frames that begin in `bytes`, which follow those of the last call. Returns the first
  // budget that is used up, or kNone.
  Http2Flood Count(std::string_view bytes, MonoTime now);

  // Spends one token for something that is not seen in a frame header.
  Http2Flood Take(Http2Flood kind, MonoTime now) {
    return Of(kind).Take(now) ? Http2Flood::kNone : kind;
  }

  // HEADERS or CONTINUATION have begun, and the last of them is not complete.
  bool in_head() const { return head_open_ || (in_head_frame_ && skip_ > 0); }

  // We have sent a piece of body: peers answer with WINDOW_UPDATE, and measure the path with PING.
  void OnDataSent() { OnData(); }

 private:
  static constexpr size_t kHeaderSize = 9;

  Http2Flood CountFrame(MonoTime now);
  Http2Flood CountData(MonoTime now);
  void OnData() {
    Of(Http2Flood::kWindowUpdate).Give(4);
    Of(Http2Flood::kPing).Give(1);
  }
  size_t length() const;
  RateBudget& Of(Http2Flood kind) { return budgets_[static_cast<size_t>(kind)]; }

  const bool from_client_;
  std::array<RateBudget, static_cast<size_t>(Http2Flood::kCount)> budgets_;
  std::array<uint8_t, kHeaderSize> header_{};
  size_t header_size_ = 0;      // bytes of it that have come
  bool in_head_frame_ = false;  // the last frame is HEADERS or CONTINUATION
  bool head_open_ = false;      // and more must follow
  size_t skip_;                 // bytes before the next header
};

}  // namespace sluice
