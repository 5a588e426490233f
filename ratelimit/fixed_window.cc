#include "ratelimit/fixed_window.h"

#include <algorithm>

namespace sluice::ratelimit {
namespace {

constexpr unsigned kCountBits = 28;
constexpr int64_t kSkew = std::chrono::duration_cast<milliseconds>(kClockSkew).count();

// From `start` to `now`, both modulo 2^36.
int64_t Elapsed(uint64_t start, uint64_t now) {
  return static_cast<int64_t>((now - start) << kCountBits) >> kCountBits;
}

}  // namespace

FixedWindow::FixedWindow(uint64_t limit, milliseconds window)
    : limit_(std::min(limit, kMostCount)),
      window_(std::clamp<int64_t>(window.count(), 1, kLongest.count())) {}

Step FixedWindow::Next(uint64_t word, uint64_t cost, TimePoint now) const {
  const auto at = static_cast<uint64_t>(ToMilliseconds(now));
  uint64_t start = word >> kCountBits;
  uint64_t count = word & kMostCount;
  int64_t elapsed = Elapsed(start, at);
  if (count == 0 || elapsed >= window_ || elapsed < -kSkew) {
    start = at;
    count = 0;
    elapsed = 0;
  }
  elapsed = std::max<int64_t>(elapsed, 0);
  const uint64_t left = limit_ - std::min(count, limit_);  // the limit may have been higher
  Step step{.decision = {.allowed = cost <= left}, .word = word};
  Decision& decision = step.decision;
  const milliseconds rest(window_ - elapsed);
  decision.remaining = left;
  if (decision.allowed && cost > 0) {
    count += cost;
    decision.remaining = left - cost;
    step.word = start << kCountBits | count;
  } else if (!decision.allowed && cost <= limit_) {
    decision.retry_after = rest;
  }
  if (count > 0) decision.reset = step.keep = rest;
  return step;
}

}  // namespace sluice::ratelimit
