// The floor under the rate of a request body: a client that sends a byte now and then, so that no
// gap is too long, holds a request only for as long as an honest one that is slow. The time in
// which we do not read does not count.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gateway/base/time.h"

namespace sluice {

class BodyPace {
 public:
  // After this the average must have reached the floor, and stay above it.
  static constexpr Duration kGrace = seconds(5);

  // The head is complete; it was so long.
  void Start(MonoTime now, uint64_t head_bytes) {
    began_ = now;
    head_bytes_ = head_bytes;
    excused_ = false;
  }
  // The client may take its time: its answer has begun, and what follows is a conversation.
  void Excuse() { excused_ = true; }

  void Pause(MonoTime now) { paused_ = now; }
  void Resume(MonoTime now) { began_ += now - paused_; }

  // When the client is too slow, if nothing follows the `bytes` of head and body that came.
  // `floor`: per second.
  MonoTime Limit(uint64_t bytes, uint32_t floor) const {
    if (excused_ || floor == 0) return MonoTime::max();
    const uint64_t counted = std::min(bytes - head_bytes_, kMostSeconds * floor);
    return began_ + kGrace + milliseconds(counted * 1000 / floor);
  }

 private:
  static constexpr uint64_t kMostSeconds = 86'400;  // bytes for more than a day change nothing

  MonoTime began_{};
  MonoTime paused_{};
  uint64_t head_bytes_ = 0;
  bool excused_ = false;
};

}  // namespace sluice
