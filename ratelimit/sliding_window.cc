#include "ratelimit/sliding_window.h"

#include <algorithm>

namespace sluice::ratelimit {
namespace {

constexpr unsigned kCountBits = 22;
constexpr unsigned kIndexBits = 64 - 2 * kCountBits;

// From window `before` to `index`, modulo 2^20.
int64_t Passed(uint64_t before, uint64_t index) {
  return static_cast<int64_t>((index - before) << 2 * kCountBits) >> 2 * kCountBits;
}

uint64_t DividedUp(uint64_t value, uint64_t by) { return (value + by - 1) / by; }

}  // namespace

// As they are now, with the time since the window began.
struct SlidingWindow::Counts {
  uint64_t index = 0;
  uint64_t previous = 0;
  uint64_t current = 0;
  uint64_t elapsed = 0;

  static Counts Read(uint64_t word, uint64_t now, uint64_t window) {
    Counts counts{.index = word >> 2 * kCountBits,
                  .previous = word >> kCountBits & kMostCount,
                  .current = word & kMostCount,
                  .elapsed = now % window};
    const uint64_t index = now / window;
    if (counts.previous == 0 && counts.current == 0) return {index, 0, 0, counts.elapsed};
    switch (Passed(counts.index, index)) {
      case 0:
        return counts;
      case -1:  // another process's clock is in the next window already
        counts.elapsed = 0;
        return counts;
      case 1:
        return {index, counts.current, 0, counts.elapsed};
      default:
        return {index, 0, 0, counts.elapsed};
    }
  }
  uint64_t Pack() const { return index << 2 * kCountBits | previous << kCountBits | current; }
};
static_assert(kIndexBits == 20);

SlidingWindow::SlidingWindow(uint64_t limit, milliseconds window)
    : limit_(std::min(limit, kMostCount)),
      window_(static_cast<uint64_t>(std::clamp<int64_t>(window.count(), 1, kLongest.count()))) {}

Step SlidingWindow::Next(uint64_t word, uint64_t cost, TimePoint now) const {
  Counts counts = Counts::Read(word, static_cast<uint64_t>(ToMilliseconds(now)), window_);
  // All times the window, so that nothing is rounded; below 2^59.
  const uint64_t used = counts.previous * (window_ - counts.elapsed) + counts.current * window_;
  uint64_t left = limit_ * window_ - std::min(used, limit_ * window_);
  Step step{.decision = {.allowed = cost <= left / window_}, .word = word};
  Decision& decision = step.decision;
  if (decision.allowed && cost > 0) {
    counts.current += cost;
    left -= cost * window_;
    step.word = counts.Pack();
  } else if (!decision.allowed && cost <= limit_) {
    decision.retry_after = RetryAfter(counts, cost);
  }
  decision.remaining = left / window_;
  if (counts.current > 0) {
    decision.reset = milliseconds(2 * window_ - counts.elapsed);
  } else if (counts.previous > 0) {
    decision.reset = milliseconds(window_ - counts.elapsed);
  }
  step.keep = decision.reset;
  return step;
}

// Precondition: it is refused now, and `cost` is within the limit.
nanoseconds SlidingWindow::RetryAfter(const Counts& counts, uint64_t cost) const {
  // Of a window in which `fixed` is counted, when `fading` has faded enough.
  const auto in_window = [&](uint64_t fading, uint64_t fixed) {
    const uint64_t room = limit_ - fixed - cost;
    if (fading <= room) return uint64_t{0};
    return DividedUp((fading - room) * window_, fading);
  };
  if (counts.current + cost <= limit_) {
    return milliseconds(in_window(counts.previous, counts.current) - counts.elapsed);
  }
  return milliseconds(window_ - counts.elapsed + in_window(counts.current, 0));
}

}  // namespace sluice::ratelimit
