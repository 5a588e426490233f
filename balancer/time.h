// Time as it is handed in: the monotonic clock, which all processes of a host share.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice::balancer {

using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Whole milliseconds of `time`, as shared words hold it.
inline uint64_t ToMilliseconds(TimePoint time) {
  const auto count = std::chrono::floor<milliseconds>(time.time_since_epoch()).count();
  return count > 0 ? static_cast<uint64_t>(count) : 0;
}

}  // namespace sluice::balancer
