// The two clocks. Timeouts, limits and latencies use MonoTime only; WallTime is for log lines and
// HTTP dates.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice {

using Duration = std::chrono::nanoseconds;
using MonoTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

inline MonoTime MonoNow() { return std::chrono::steady_clock::now(); }
inline WallTime WallNow() { return std::chrono::system_clock::now(); }

// "2026-11-21T13:04:28.123Z"
std::string FormatIso8601(WallTime time);

}  // namespace sluice
