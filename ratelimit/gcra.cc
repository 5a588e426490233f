#include "ratelimit/gcra.h"

#include <algorithm>
#include <cmath>

namespace sluice::ratelimit {
namespace {

constexpr int64_t kTicks = 16;  // a nanosecond
constexpr int64_t kMost = Gcra::kLongest.count() * kTicks;
constexpr int64_t kSkew = kClockSkew.count() * kTicks;

// Also for what is not a number.
int64_t Bounded(double ticks, int64_t least) {
  if (!(ticks > static_cast<double>(least))) return least;
  return ticks < static_cast<double>(kMost) ? std::llround(ticks) : kMost;
}

// Never 0, which is a key that was not seen yet.
uint64_t Pack(uint64_t now, int64_t ahead) {
  return std::max<uint64_t>(now + static_cast<uint64_t>(ahead), 1);
}

nanoseconds RoundedUp(int64_t ticks) { return nanoseconds((ticks + kTicks - 1) / kTicks); }

}  // namespace

Gcra::Gcra(double rate, double capacity)
    : interval_(Bounded(rate > 0 ? 1e9 * kTicks / rate : static_cast<double>(kMost), kTicks)),
      capacity_(Bounded(capacity * static_cast<double>(interval_), interval_)) {}

Step Gcra::Next(uint64_t word, uint64_t cost, TimePoint now) const {
  const uint64_t at = static_cast<uint64_t>(now.time_since_epoch().count()) * kTicks;
  int64_t ahead = word != 0 ? std::max<int64_t>(static_cast<int64_t>(word - at), 0) : 0;
  if (ahead > capacity_ + kSkew) {  // of another configuration, or the clock went back
    ahead = capacity_;
    word = Pack(at, ahead);
  }
  Step step{.decision = {}, .word = word};
  Decision& decision = step.decision;
  if (cost <= static_cast<uint64_t>(capacity_ / interval_)) {
    const int64_t wanted = static_cast<int64_t>(cost) * interval_;
    const int64_t lacking = ahead + wanted - capacity_;
    decision.allowed = lacking <= 0;
    if (!decision.allowed) {
      decision.retry_after = RoundedUp(lacking);
    } else if (cost > 0) {
      ahead += wanted;
      step.word = Pack(at, ahead);
    }
  }
  decision.remaining = static_cast<uint64_t>(std::max<int64_t>(capacity_ - ahead, 0) / interval_);
  decision.reset = step.keep = RoundedUp(ahead);
  return step;
}

Step LeakyBucket::Next(uint64_t word, uint64_t cost, TimePoint now) const {
  Step step = gcra_.Next(word, cost, now);
  if (step.decision.allowed && !nodelay_) {
    // Before this request came: those before it must have left.
    step.decision.delay = gcra_.Next(word, 0, now).decision.reset;
  }
  return step;
}

}  // namespace sluice::ratelimit
