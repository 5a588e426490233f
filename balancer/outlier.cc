#include "balancer/outlier.h"

#include <algorithm>
#include <limits>

namespace sluice::balancer {
namespace {

constexpr uint32_t kMost16 = std::numeric_limits<uint16_t>::max();
constexpr uint8_t kMost8 = std::numeric_limits<uint8_t>::max();

// A configured time in milliseconds, such that sums and products with 8 bits cannot overflow.
uint64_t Bounded(milliseconds time) {
  return static_cast<uint64_t>(std::clamp<int64_t>(time.count(), 0, int64_t{1} << 39));
}

uint8_t UpOrZero(uint8_t count, bool up) {
  if (!up) return 0;
  return count == kMost8 ? count : static_cast<uint8_t>(count + 1);
}

}  // namespace

struct Outlier::Counts {
  uint8_t errors;
  uint8_t gateway_errors;
  uint16_t interval;
  uint16_t failed;
  uint16_t all;

  static Counts Unpack(uint64_t word) {
    return {.errors = static_cast<uint8_t>(word >> 56),
            .gateway_errors = static_cast<uint8_t>(word >> 48),
            .interval = static_cast<uint16_t>(word >> 32),
            .failed = static_cast<uint16_t>(word >> 16),
            .all = static_cast<uint16_t>(word)};
  }
  uint64_t Pack() const {
    return uint64_t{errors} << 56 | uint64_t{gateway_errors} << 48 | uint64_t{interval} << 32 |
           uint64_t{failed} << 16 | all;
  }
};

Outlier::Counts Outlier::Count(OutlierState& state, Outcome outcome, TimePoint now) const {
  const uint64_t length = std::max<uint64_t>(1, Bounded(config_.interval));
  const auto interval = static_cast<uint16_t>(ToMilliseconds(now) / length);
  const bool failed = outcome != Outcome::kSuccess;
  uint64_t word = state.counts.load(std::memory_order_relaxed);
  Counts counts;
  do {
    counts = Counts::Unpack(word);
    if (counts.interval != interval) counts.failed = counts.all = 0;
    counts.interval = interval;
    if (counts.all == kMost16) {
      counts.all /= 2;
      counts.failed /= 2;
    }
    ++counts.all;
    counts.failed = static_cast<uint16_t>(counts.failed + (failed ? 1 : 0));
    counts.errors = UpOrZero(counts.errors, failed);
    counts.gateway_errors =
        UpOrZero(counts.gateway_errors, failed && outcome != Outcome::kServerError);
  } while (!state.counts.compare_exchange_weak(word, counts.Pack(), std::memory_order_relaxed));
  return counts;
}

EjectionReason Outlier::Judge(const Counts& counts, size_t hosts) const {
  if (config_.consecutive_errors > 0 && counts.errors >= config_.consecutive_errors) {
    return EjectionReason::kConsecutiveErrors;
  }
  if (config_.consecutive_gateway_errors > 0 &&
      counts.gateway_errors >= config_.consecutive_gateway_errors) {
    return EjectionReason::kConsecutiveGatewayErrors;
  }
  if (config_.failure_percentage > 0 && hosts >= config_.failure_minimum_hosts &&
      counts.all >= std::min(config_.failure_minimum_requests, kMost16 / 2) &&
      counts.failed * 100U >= uint32_t{config_.failure_percentage} * counts.all) {
    return EjectionReason::kFailurePercentage;
  }
  return EjectionReason::kNone;
}

EjectionReason Outlier::Report(OutlierState& state, std::span<OutlierState* const> upstream,
                               Outcome outcome, TimePoint now) const {
  if (IsEjected(state, now)) return EjectionReason::kNone;
  const Counts counts = Count(state, outcome, now);
  if (outcome == Outcome::kSuccess) return EjectionReason::kNone;
  const EjectionReason reason = Judge(counts, upstream.size());
  if (reason == EjectionReason::kNone) return reason;
  // First eject, then look whether it was too many: of workers that do this at once at least one
  // sees the other's. So the share is never exceeded for longer than this takes.
  const uint64_t before = state.ejection.load();
  if (TooManyEjected(upstream, now, /*more=*/1) || !Eject(state, before, reason, now)) {
    return EjectionReason::kNone;
  }
  if (TooManyEjected(upstream, now, /*more=*/0)) {
    state.ejection.store(before);
    return EjectionReason::kNone;
  }
  state.counts.store(0, std::memory_order_relaxed);
  return reason;
}

bool Outlier::Eject(OutlierState& state, uint64_t before, EjectionReason reason,
                    TimePoint now) const {
  const uint64_t now_ms = ToMilliseconds(now);
  const uint64_t back_since = before & kUntilMask;
  if (back_since > now_ms) return false;  // another worker was faster
  const uint64_t interval = std::max<uint64_t>(1, Bounded(config_.interval));
  const uint64_t forgotten = (now_ms - back_since) / interval;
  const uint64_t times = (before >> 48) & 0xff;
  const uint64_t more = std::min<uint64_t>(kMost8, (times > forgotten ? times - forgotten : 0) + 1);
  const uint64_t base = Bounded(config_.base_ejection_time);
  const uint64_t most = Bounded(config_.max_ejection_time);
  // As Envoy: the base time when it is above the longest.
  const uint64_t length = std::min(base * more, std::max(base, most));
  const uint64_t word =
      static_cast<uint64_t>(reason) << 56 | more << 48 | ((now_ms + length) & kUntilMask);
  return state.ejection.compare_exchange_strong(before, word);
}

bool Outlier::TooManyEjected(std::span<OutlierState* const> upstream, TimePoint now,
                             size_t more) const {
  const size_t ejected =
      more + static_cast<size_t>(
                 std::count_if(upstream.begin(), upstream.end(), [&](const OutlierState* one) {
                   return (one->ejection.load() & kUntilMask) > ToMilliseconds(now);
                 }));
  if (ejected <= 1 && config_.always_eject_one) return false;
  return ejected * 100 > upstream.size() * config_.max_ejection_percentage;
}

void Outlier::Readmit(OutlierState& state) {
  state.counts.store(0, std::memory_order_relaxed);
  state.ejection.store(0, std::memory_order_relaxed);
}

Ejection Outlier::Read(const OutlierState& state) {
  const uint64_t word = state.ejection.load(std::memory_order_relaxed);
  return {.reason = static_cast<EjectionReason>(word >> 56),
          .times = static_cast<uint8_t>(word >> 48),
          .until = TimePoint(milliseconds(word & kUntilMask))};
}

}  // namespace sluice::balancer
