// The breaker of the `api-breaker` plugin with APISIX's rules, which has no half-open state: every
// `failures` unhealthy answers it refuses for 2, 4, 8 … seconds up to `max_break`, then lets
// everything through; `successes` healthy answers in a row reset it. For our own see breaker.h.
#pragma once

#include <atomic>
#include <cstdint>

#include "balancer/time.h"

namespace sluice::balancer {

struct ApiBreakerConfig {
  uint32_t failures = 3;   // 1 to 2000; more count as 2000, as 0 counts as 1
  uint32_t successes = 3;  // 1 to 255, the same
  milliseconds max_break = std::chrono::seconds(300);
};

// One word, zero at the start; may lie in memory that several processes share.
//
//   | unhealthy answers 16 | healthy answers in a row 8 | refuses since, in milliseconds 40 |
struct ApiBreakerState {
  std::atomic<uint64_t> word = 0;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

class ApiBreaker {
 public:
  explicit ApiBreaker(const ApiBreakerConfig& config);

  // How long requests are still refused; 0: not at all. One load. Times are exact to the
  // millisecond, where APISIX counts whole seconds.
  milliseconds RefusedFor(const ApiBreakerState& state, TimePoint now) const;

  // The upstream answered with one of the healthy or unhealthy statuses; others are not reported.
  void Report(ApiBreakerState& state, bool healthy, TimePoint now) const;

 private:
  uint64_t failures_;
  uint64_t successes_;
  uint64_t max_break_;
};

}  // namespace sluice::balancer
