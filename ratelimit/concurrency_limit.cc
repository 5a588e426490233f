#include "ratelimit/concurrency_limit.h"

#include <algorithm>
#include <limits>

namespace sluice::ratelimit {
namespace {

constexpr nanoseconds kMicrosecond = std::chrono::microseconds(1);
constexpr int64_t kMostUnit = std::numeric_limits<uint32_t>::max();  // microseconds

}  // namespace

nanoseconds ConcurrencyLimit::Unit(uint64_t word) const {
  const uint64_t measured = config_.fixed_unit ? 0 : word >> 32;
  return measured > 0 ? kMicrosecond * static_cast<int64_t>(measured)
                      : std::clamp(config_.unit_delay, kMicrosecond, kMicrosecond * kMostUnit);
}

Step ConcurrencyLimit::Next(uint64_t word, uint64_t cost, TimePoint /*now*/) const {
  const uint64_t places = std::max(config_.places, 1U);
  const uint64_t limit = std::min<uint64_t>(places + config_.burst, UINT32_MAX);
  uint64_t under_way = UnderWay(word);
  const uint64_t left = limit - std::min(under_way, limit);
  Step step{.decision = {.allowed = cost <= left, .remaining = left}, .word = word, .keep = kKeep};
  if (!step.decision.allowed) {
    if (cost <= limit) step.decision.retry_after = Unit(word);
    return step;
  }
  under_way += cost;
  step.word += cost;
  step.decision.remaining -= cost;
  // A wait of weeks is none that a client sits out, but it must not overflow.
  const uint64_t turns =
      under_way > places ? std::min<uint64_t>((under_way - 1) / places, 1024) : 0;
  step.decision.delay = Unit(word) * static_cast<int64_t>(turns);
  return step;
}

uint64_t ConcurrencyLimit::Left(uint64_t word, nanoseconds latency) const {
  const uint64_t after = Left(word);
  if (config_.fixed_unit) return after;
  const nanoseconds unit =
      (Unit(word) + std::clamp(latency, nanoseconds(0), kMicrosecond * kMostUnit)) / 2;
  const auto count = std::clamp<int64_t>(unit / kMicrosecond, 1, kMostUnit);
  return static_cast<uint64_t>(count) << 32 | UnderWay(after);
}

}  // namespace sluice::ratelimit
