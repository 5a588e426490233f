// Outlier ejection: an endpoint that fails in a row, or too large a share of its requests, is not
// picked for a while. Parameters and defaults are Envoy's; the words lie in memory that all workers
// share, so that the host decides, not one worker.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "balancer/time.h"

namespace sluice::balancer {

// How an attempt at an endpoint ended. What the client caused (4xx, an abort) is a success or is
// not reported.
enum class Outcome : uint8_t {
  kSuccess,
  kServerError,   // 5xx other than the next
  kGatewayError,  // 502, 503, 504
  kLocalError,    // no connection, reset, timeout: we have no answer
};

enum class EjectionReason : uint8_t {
  kNone,
  kConsecutiveErrors,
  kConsecutiveGatewayErrors,
  kFailurePercentage,
};

struct OutlierConfig {
  uint8_t consecutive_errors = 5;          // of any kind; 0: off
  uint8_t consecutive_gateway_errors = 0;  // gateway and local errors only; 0: off
  uint8_t failure_percentage = 0;          // of the requests of an interval; 0: off (Envoy: 85)
  uint32_t failure_minimum_hosts = 5;      // endpoints of the upstream, for failure_percentage
  uint32_t failure_minimum_requests = 50;  // in the interval
  milliseconds interval = std::chrono::seconds(10);
  milliseconds base_ejection_time = std::chrono::seconds(30);  // times how often it was ejected
  milliseconds max_ejection_time = std::chrono::seconds(300);
  uint8_t max_ejection_percentage = 10;  // of the upstream's endpoints
  bool always_eject_one = false;         // even when one is more than that share
};

// One endpoint's words, zero at the start. A success or failure is one read-modify-write of
// `counts`; picking reads `ejection`.
//
//   counts    | errors in a row 8 | gateway errors in a row 8 | interval 16 | failed 16 | all 16 |
//   ejection  | reason 8 | times 8 | until, in milliseconds of the clock 48 |
//
// When 65,535 requests of an interval are counted, both numbers are halved: the share stays.
// `times` falls by one for each interval that the endpoint spent in service since.
struct OutlierState {
  std::atomic<uint64_t> counts = 0;
  std::atomic<uint64_t> ejection = 0;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct Ejection {
  EjectionReason reason = EjectionReason::kNone;  // of the last one; kNone: never
  uint8_t times = 0;
  TimePoint until;
};

class Outlier {
 public:
  explicit Outlier(const OutlierConfig& config) : config_(config) {}

  // May the endpoint not be picked now? One load.
  static bool IsEjected(const OutlierState& state, TimePoint now) {
    const uint64_t until = state.ejection.load(std::memory_order_relaxed) & kUntilMask;
    return until > 0 && until > ToMilliseconds(now);  // most never were: no division for them
  }

  // Counts an outcome. When it makes the endpoint an outlier, ejects it, unless too many of
  // `upstream` (all endpoints, this one too) are ejected; says why it was ejected just now, else
  // kNone. Two workers that eject at the same moment may both give way; the next failure decides
  // again. An ejected endpoint's late outcomes count nothing.
  EjectionReason Report(OutlierState& state, std::span<OutlierState* const> upstream,
                        Outcome outcome, TimePoint now) const;

  // An active check passed, or the operator says so: the endpoint is in service again at once.
  static void Readmit(OutlierState& state);

  static Ejection Read(const OutlierState& state);

 private:
  struct Counts;
  static constexpr uint64_t kUntilMask = (uint64_t{1} << 48) - 1;

  Counts Count(OutlierState& state, Outcome outcome, TimePoint now) const;
  EjectionReason Judge(const Counts& counts, size_t hosts) const;
  bool Eject(OutlierState& state, uint64_t before, EjectionReason reason, TimePoint now) const;
  // Would `more` ejections beside those that there are be too many?
  bool TooManyEjected(std::span<OutlierState* const> upstream, TimePoint now, size_t more) const;

  OutlierConfig config_;
};

}  // namespace sluice::balancer
