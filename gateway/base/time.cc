#include "gateway/base/time.h"

#include <cstdio>
#include <ctime>

namespace sluice {

std::string FormatIso8601(WallTime time) {
  const auto millis = std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
  const std::time_t whole = static_cast<std::time_t>(millis / 1000);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  char text[64];
  const int size =
      std::snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                    parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                    static_cast<int>(millis % 1000));
  return {text, static_cast<size_t>(size)};
}

}  // namespace sluice
