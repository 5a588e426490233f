// Circuit breaker of an upstream or an endpoint, decided by the whole host: its words lie in memory
// that all workers share.
//
//              too many failures                    open time over
//   closed ───────────────────────▶ open ───────────────────────────▶ half-open
//     ▲                               ▲      a probe fails: longer        │  │
//     │                               └───────────────────────────────────┘  │
//     └──────────── `probes` probes succeeded; then the ramp ────────────────┘
//
// The open time doubles each time up to a cap, and halves for every whole window spent closed.
// Forced open and forced closed are the operator's.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "balancer/time.h"

namespace sluice::balancer {

enum class BreakerPhase : uint8_t { kClosed, kOpen, kHalfOpen, kForcedOpen, kForcedClosed };

struct BreakerConfig {
  // Any that is reached opens; 0 turns a condition off. Shares are of the last 10 seconds.
  uint32_t consecutive_failures = 0;
  uint8_t failure_percentage = 50;
  uint8_t slow_percentage = 0;
  milliseconds slow_call = std::chrono::seconds(1);  // that long or longer
  uint32_t minimum_requests = 20;                    // for the shares
  milliseconds open_time = std::chrono::seconds(5);
  milliseconds max_open_time = std::chrono::seconds(300);
  uint8_t probes = 3;  // at once, and how many must succeed
  // A probe that said nothing for so long is lost (its worker died) and may be sent again.
  milliseconds probe_limit = std::chrono::seconds(30);
  // After half-open the admitted share grows linearly from a tenth to all.
  milliseconds ramp = std::chrono::seconds(10);
};

// Zero at the start, which is closed.
//
//   control  | phase 3 | doublings 5 | probes out 8 | probes succeeded 8 | milliseconds 40 |
//   bucket   | second 16 | slow 16 | failed 16 | all 16 |     of second s at s mod 10
//
// `milliseconds`: closed since, open until, half-open since. A success is one read-modify-write of
// a bucket, a failure another of `in_a_row`; admission reads `control` only, except of probes.
struct alignas(64) BreakerState {
  static constexpr size_t kBuckets = 10;

  std::atomic<uint64_t> control = 0;
  std::atomic<uint64_t> in_a_row = 0;
  std::array<std::atomic<uint64_t>, kBuckets> buckets = {};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// What a request got from Admit, and gives to Report exactly once unless it was refused.
struct BreakerPass {
  enum class Kind : uint8_t { kRefused, kNormal, kProbe };

  Kind kind = Kind::kNormal;
  uint64_t round = 0;           // of the period in which it was admitted
  milliseconds retry_after{0};  // when refused: for Retry-After
};

enum class CallOutcome : uint8_t {
  kGood,
  kBad,
  kIgnored,  // the client went away, or the call was not made after all
};

// 5xx is bad, 429 if wanted; other 4xx are answers of a server that works.
inline CallOutcome OutcomeOfStatus(int status, bool count_429) {
  return status >= 500 || (count_429 && status == 429) ? CallOutcome::kBad : CallOutcome::kGood;
}

// What a Report changed, for log and metrics; only one worker is told.
enum class BreakerChange : uint8_t { kNone, kOpened, kReopened, kClosed };

struct BreakerView {
  BreakerPhase phase = BreakerPhase::kClosed;
  TimePoint time;         // closed since, open until, half-open since
  double share = 1;       // admitted while closed
  uint32_t requests = 0;  // of the window
  uint32_t failed = 0;
  uint32_t slow = 0;
};

class Breaker {
 public:
  explicit Breaker(const BreakerConfig& config) : config_(config) {}

  // May a request be sent? `random` is any 64 random bits, looked at during the ramp only.
  BreakerPass Admit(BreakerState& state, TimePoint now, uint64_t random) const;

  // Would Admit let a request pass? Changes nothing, and leaves the ramp to Admit: for choosing
  // among endpoints.
  bool MayAdmit(const BreakerState& state, TimePoint now) const;

  // How the request ended, after `latency`. Outcomes of requests that were admitted before the last
  // change of phase count nothing.
  BreakerChange Report(BreakerState& state, const BreakerPass& pass, CallOutcome outcome,
                       nanoseconds latency, TimePoint now) const;

  BreakerView Read(const BreakerState& state, TimePoint now) const;

  // The operator's word: any phase; kClosed takes force back and starts afresh.
  static void Force(BreakerState& state, BreakerPhase phase, TimePoint now);

 private:
  struct Control;
  struct Window;

  double Share(const Control& control, uint64_t now) const;
  BreakerPass AdmitProbe(BreakerState& state, uint64_t word, uint64_t now) const;
  BreakerChange ReportProbe(BreakerState& state, const BreakerPass& pass, CallOutcome outcome,
                            uint64_t now) const;
  Control Opened(const Control& from, uint64_t now) const;
  bool ShouldOpen(const BreakerState& state, uint64_t in_a_row, uint64_t now) const;

  BreakerConfig config_;
};

}  // namespace sluice::balancer
