// Whether checks find an endpoint healthy: one word in the table that all processes share, changed
// by the controller's probes (active) and by what workers see of answers (passive). Counted as in
// APISIX: a success clears the failures, a failure clears the successes, and so many of one kind in
// a row move the endpoint from one side to the other.
//
//   | health 8 | cause 8 | status 16 | timeouts 8 | TCP failures 8 | HTTP failures 8 | successes 8
//   |
//
//                    failure                           failure × limit
//     healthy ──────────────▶ mostly healthy ─────────────────────────▶ unhealthy
//        ▲ ▲ ── success × limit ──┘                                        │ success
//        └────────── success × limit ─────────── mostly unhealthy ◀────────┘
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "conf/checks.h"
#include "gateway/proxy/endpoint_table.h"

namespace sluice {

enum class Health : uint8_t { kHealthy, kMostlyHealthy, kMostlyUnhealthy, kUnhealthy };

// "healthy", "mostly_healthy", ...
std::string_view HealthName(Health health);

enum class CheckResult : uint8_t { kSuccess, kHttpFailure, kTcpFailure, kTimeout };
inline constexpr size_t kCheckResults = 4;

// "success", "http_failure", "tcp_failure", "timeout".
std::string_view CheckResultName(CheckResult result);

// One look at an endpoint.
struct CheckReport {
  CheckResult result = CheckResult::kSuccess;
  uint16_t status = 0;  // of the response; 0: there was none that could be read
};

// The word, unpacked.
struct HealthWord {
  Health health = Health::kHealthy;
  CheckResult cause = CheckResult::kSuccess;  // with the status: what put it on its side
  uint16_t status = 0;
  std::array<uint8_t, kCheckResults> counts = {};  // in a row, by CheckResult

  static HealthWord Unpack(uint64_t word);
  static Health HealthOf(uint64_t word) { return static_cast<Health>((word >> 56) & 3); }
  uint64_t Pack() const;
  bool is_healthy() const { return health <= Health::kMostlyHealthy; }

  friend bool operator==(const HealthWord&, const HealthWord&) = default;
};

// The word after `report`, which moves the endpoint when it came `limit` times; 0: never.
HealthWord NextHealth(HealthWord word, CheckReport report, uint8_t limit);

// What a response's status says by these rules; nullopt: nothing.
std::optional<CheckReport> JudgeStatus(const conf::HealthRules& rules, int status);

uint8_t LimitOf(const conf::HealthRules& rules, CheckResult result);

enum class HealthChange : uint8_t { kNone, kDown, kUp };

// Counts a report, from any process. Of those that report at once one is told of the change.
HealthChange ReportHealth(SharedRecord& record, const conf::HealthRules& rules, CheckReport report);

// One load.
inline bool IsHealthy(const SharedRecord& record) {
  const uint64_t word = record.checks.load(std::memory_order_relaxed);
  return HealthWord::HealthOf(word) <= Health::kMostlyHealthy;
}
inline HealthWord ReadHealth(const SharedRecord& record) {
  return HealthWord::Unpack(record.checks.load(std::memory_order_relaxed));
}
// No check looks at it any more.
inline void ForgetHealth(SharedRecord& record) {
  record.checks.store(0, std::memory_order_relaxed);
}

struct CheckedNode {
  std::string_view upstream;
  std::string_view node;
  std::string_view check;  // "active" or "passive"
};
// A line in the error log, unless nothing has changed.
void LogHealthChange(HealthChange change, const CheckedNode& of, CheckReport report,
                     std::string_view detail);

}  // namespace sluice
