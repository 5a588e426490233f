#include "balancer/api_breaker.h"

#include <algorithm>

namespace sluice::balancer {
namespace {

// 2^20 seconds are more than any limit; so the count of unhealthy answers need not grow further.
constexpr uint64_t kMostDoublings = 20;
constexpr uint64_t kTimeMask = (uint64_t{1} << 40) - 1;

struct Word {
  uint64_t unhealthy;
  uint64_t healthy;
  uint64_t since;  // 0: never

  static Word Unpack(uint64_t word) { return {word >> 48, word >> 40 & 0xff, word & kTimeMask}; }
  uint64_t Pack() const { return unhealthy << 48 | healthy << 40 | (since & kTimeMask); }
};

}  // namespace

ApiBreaker::ApiBreaker(const ApiBreakerConfig& config)
    : failures_(std::clamp<uint64_t>(config.failures, 1, 2000)),
      successes_(std::clamp<uint64_t>(config.successes, 1, 255)),
      max_break_(static_cast<uint64_t>(
          std::clamp<int64_t>(config.max_break.count(), 0, int64_t{1} << 38))) {}

milliseconds ApiBreaker::RefusedFor(const ApiBreakerState& state, TimePoint now) const {
  const Word word = Word::Unpack(state.word.load(std::memory_order_relaxed));
  if (word.since == 0) return milliseconds(0);
  const uint64_t doublings = std::clamp<uint64_t>(word.unhealthy / failures_, 1, kMostDoublings);
  const uint64_t until = word.since + std::min(max_break_, (uint64_t{1} << doublings) * 1000);
  const uint64_t at = ToMilliseconds(now);
  return milliseconds(until > at ? until - at : 0);
}

void ApiBreaker::Report(ApiBreakerState& state, bool healthy, TimePoint now) const {
  uint64_t before = state.word.load(std::memory_order_relaxed);
  for (;;) {
    Word word = Word::Unpack(before);
    if (healthy) {
      if (word.unhealthy == 0) return;  // nothing to recover from, nothing to write
      if (++word.healthy >= successes_) word = {};
    } else {
      word.healthy = 0;
      ++word.unhealthy;
      if (word.unhealthy % failures_ == 0) word.since = std::max<uint64_t>(1, ToMilliseconds(now));
      // One round less leaves the length of the break and the place in the round as they are.
      if (word.unhealthy > failures_ * (kMostDoublings + 1)) word.unhealthy -= failures_;
    }
    if (state.word.compare_exchange_weak(before, word.Pack(), std::memory_order_relaxed)) return;
  }
}

}  // namespace sluice::balancer
