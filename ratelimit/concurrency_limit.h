// How many may be under way at one time, with the rules of APISIX's limit-conn: up to `places` go
// ahead at once, up to `burst` more are delayed, by one unit for each whole `places` before them.
// The unit follows how long requests take: half of it, half of the last one's time.
//
//   word     | unit: microseconds 32 | under way 32 |     unit 0: as configured
//
// Who was allowed in leaves once. What a process that died has not left: concurrency_ledger.h.
#pragma once

#include <cstdint>

#include "ratelimit/limit.h"

namespace sluice::ratelimit {

struct ConcurrencyConfig {
  uint32_t places = 1;  // at least one
  uint32_t burst = 0;
  nanoseconds unit_delay = std::chrono::seconds(1);
  bool fixed_unit = false;  // the unit stays as configured
};

class ConcurrencyLimit {
 public:
  // A key that nobody uses keeps its measured unit so long, if there is room.
  static constexpr nanoseconds kKeep = std::chrono::minutes(1);

  explicit ConcurrencyLimit(const ConcurrencyConfig& config) : config_(config) {}

  // Enters `cost` at once. Retry-After is a guess, one unit; reset is not known.
  Step Next(uint64_t word, uint64_t cost, TimePoint now) const;

  // One of them has ended after `latency` without its delay.
  uint64_t Left(uint64_t word, nanoseconds latency) const;
  // One is taken back of which nothing else is known.
  static uint64_t Left(uint64_t word) { return UnderWay(word) > 0 ? word - 1 : word; }

  static uint32_t UnderWay(uint64_t word) { return static_cast<uint32_t>(word); }

 private:
  nanoseconds Unit(uint64_t word) const;

  ConcurrencyConfig config_;
};

}  // namespace sluice::ratelimit
