#include "balancer/breaker.h"

#include <algorithm>
#include <limits>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

constexpr uint64_t kWindow = 10'000;  // milliseconds
constexpr uint64_t kMostDoublings = 31;
constexpr uint64_t kMost16 = std::numeric_limits<uint16_t>::max();
// With all probes out, or in the ramp: more may be let in any moment.
constexpr milliseconds kSoon = std::chrono::seconds(1);

// A configured time, at least one millisecond, such that a sum with the clock fits 40 bits.
uint64_t Bounded(milliseconds time) {
  return static_cast<uint64_t>(std::clamp<int64_t>(time.count(), 1, int64_t{1} << 38));
}

struct Bucket {
  uint16_t second;
  uint16_t slow;
  uint16_t failed;
  uint16_t all;

  static Bucket Unpack(uint64_t word) {
    return {static_cast<uint16_t>(word >> 48), static_cast<uint16_t>(word >> 32),
            static_cast<uint16_t>(word >> 16), static_cast<uint16_t>(word)};
  }
  uint64_t Pack() const {
    return uint64_t{second} << 48 | uint64_t{slow} << 32 | uint64_t{failed} << 16 | all;
  }
};

void AddTo(BreakerState& state, bool failed, bool slow, uint64_t now) {
  const uint64_t second = now / 1000;
  std::atomic<uint64_t>& slot = state.buckets[second % BreakerState::kBuckets];
  uint64_t word = slot.load(std::memory_order_relaxed);
  Bucket bucket;
  do {
    bucket = Bucket::Unpack(word);
    if (bucket.second != static_cast<uint16_t>(second)) {
      bucket = {.second = static_cast<uint16_t>(second), .slow = 0, .failed = 0, .all = 0};
    }
    if (bucket.all == kMost16) {  // the shares stay
      bucket.all /= 2;
      bucket.failed /= 2;
      bucket.slow /= 2;
    }
    ++bucket.all;
    bucket.failed = static_cast<uint16_t>(bucket.failed + (failed ? 1 : 0));
    bucket.slow = static_cast<uint16_t>(bucket.slow + (slow ? 1 : 0));
  } while (!slot.compare_exchange_weak(word, bucket.Pack(), std::memory_order_relaxed));
}

void Forget(BreakerState& state) {
  state.in_a_row.store(0, std::memory_order_relaxed);
  for (auto& bucket : state.buckets) bucket.store(0, std::memory_order_relaxed);
}

}  // namespace

struct Breaker::Control {
  BreakerPhase phase = BreakerPhase::kClosed;
  uint64_t doublings = 0;
  uint64_t out = 0;
  uint64_t succeeded = 0;
  uint64_t time = 0;

  static Control Unpack(uint64_t word) {
    return {static_cast<BreakerPhase>(word >> 61), word >> 56 & 0x1f, word >> 48 & 0xff,
            word >> 40 & 0xff, word & kTimeMask};
  }
  uint64_t Pack() const {
    return static_cast<uint64_t>(phase) << 61 | doublings << 56 | out << 48 | succeeded << 40 |
           (time & kTimeMask);
  }

  static constexpr uint64_t kTimeMask = (uint64_t{1} << 40) - 1;
};

struct Breaker::Window {
  uint64_t all = 0;
  uint64_t failed = 0;
  uint64_t slow = 0;

  static Window Sum(const BreakerState& state, uint64_t now) {
    Window window;
    for (const auto& slot : state.buckets) {
      const Bucket bucket = Bucket::Unpack(slot.load(std::memory_order_relaxed));
      // Another worker's clock may already be in the next second.
      const auto age = static_cast<int16_t>(now / 1000 - bucket.second);
      if (age < -1 || age >= static_cast<int16_t>(BreakerState::kBuckets)) continue;
      window.all += bucket.all;
      window.failed += bucket.failed;
      window.slow += bucket.slow;
    }
    return window;
  }
};

// 1 when closed and not in the ramp. `time` is 0 for a breaker that was never open.
double Breaker::Share(const Control& control, uint64_t now) const {
  const uint64_t ramp = config_.ramp.count() > 0 ? Bounded(config_.ramp) : 0;
  if (control.time == 0 || now >= control.time + ramp) return 1;
  const uint64_t passed = now > control.time ? now - control.time : 0;
  return std::max(0.1, static_cast<double>(passed) / static_cast<double>(ramp));
}

BreakerPass Breaker::Admit(BreakerState& state, TimePoint now, uint64_t random) const {
  using enum BreakerPass::Kind;
  const uint64_t at = ToMilliseconds(now);
  const uint64_t word = state.control.load(std::memory_order_acquire);
  const Control control = Control::Unpack(word);
  switch (control.phase) {
    case BreakerPhase::kClosed: {
      const double share = Share(control, at);
      if (share >= 1 || ToUnit(random) < share) return {kNormal, control.time, {}};
      return {kRefused, 0, kSoon};
    }
    case BreakerPhase::kForcedClosed:
      return {kNormal, control.time, {}};
    case BreakerPhase::kForcedOpen:
      return {kRefused, 0, milliseconds(Bounded(config_.open_time))};
    case BreakerPhase::kOpen:
    case BreakerPhase::kHalfOpen:
      break;
  }
  return AdmitProbe(state, word, at);
}

bool Breaker::MayAdmit(const BreakerState& state, TimePoint now) const {
  const uint64_t at = ToMilliseconds(now);
  const Control control = Control::Unpack(state.control.load(std::memory_order_acquire));
  switch (control.phase) {
    case BreakerPhase::kClosed:
    case BreakerPhase::kForcedClosed:
      return true;
    case BreakerPhase::kForcedOpen:
      return false;
    case BreakerPhase::kOpen:
      return at >= control.time;
    case BreakerPhase::kHalfOpen:
      break;
  }
  return control.out + control.succeeded < std::max<uint64_t>(1, config_.probes) ||
         at >= control.time + Bounded(config_.probe_limit);
}

// Open or half-open: one of few probes, or refused.
BreakerPass Breaker::AdmitProbe(BreakerState& state, uint64_t word, uint64_t now) const {
  using enum BreakerPass::Kind;
  const uint64_t probes = std::max<uint64_t>(1, config_.probes);
  for (;;) {
    Control control = Control::Unpack(word);
    if (control.phase == BreakerPhase::kOpen) {
      if (now < control.time) return {kRefused, 0, milliseconds(control.time - now)};
      control = {BreakerPhase::kHalfOpen, control.doublings, 0, 0, now};
    } else if (control.phase != BreakerPhase::kHalfOpen) {
      return {kRefused, 0, kSoon};  // closed this very moment: the ramp begins with little
    }
    if (now >= control.time + Bounded(config_.probe_limit)) {
      control.out = control.succeeded = 0;
      control.time = now;
    }
    if (control.out + control.succeeded >= probes) return {kRefused, 0, kSoon};
    ++control.out;
    if (state.control.compare_exchange_weak(word, control.Pack())) {
      return {kProbe, control.time, {}};
    }
  }
}

BreakerChange Breaker::Report(BreakerState& state, const BreakerPass& pass, CallOutcome outcome,
                              nanoseconds latency, TimePoint now) const {
  if (pass.kind == BreakerPass::Kind::kRefused) return BreakerChange::kNone;
  const uint64_t at = ToMilliseconds(now);
  const bool slow = config_.slow_percentage > 0 && latency >= config_.slow_call;
  if (pass.kind == BreakerPass::Kind::kProbe) {
    const bool bad = outcome == CallOutcome::kGood && slow;
    return ReportProbe(state, pass, bad ? CallOutcome::kBad : outcome, at);
  }
  uint64_t word = state.control.load(std::memory_order_acquire);
  const Control control = Control::Unpack(word);
  if (control.phase != BreakerPhase::kClosed || control.time != pass.round ||
      outcome == CallOutcome::kIgnored) {
    return BreakerChange::kNone;
  }
  const bool failed = outcome == CallOutcome::kBad;
  AddTo(state, failed, slow, at);
  uint64_t in_a_row = 0;
  if (failed) {
    in_a_row = state.in_a_row.fetch_add(1, std::memory_order_relaxed) + 1;
  } else if (state.in_a_row.load(std::memory_order_relaxed) != 0) {
    state.in_a_row.store(0, std::memory_order_relaxed);
  }
  if ((!failed && !slow) || !ShouldOpen(state, in_a_row, at)) return BreakerChange::kNone;
  const bool opened = state.control.compare_exchange_strong(word, Opened(control, at).Pack());
  return opened ? BreakerChange::kOpened : BreakerChange::kNone;
}

BreakerChange Breaker::ReportProbe(BreakerState& state, const BreakerPass& pass,
                                   CallOutcome outcome, uint64_t now) const {
  uint64_t word = state.control.load(std::memory_order_acquire);
  for (;;) {
    Control control = Control::Unpack(word);
    if (control.phase != BreakerPhase::kHalfOpen || control.time != pass.round) break;
    if (control.out > 0) --control.out;
    BreakerChange change = BreakerChange::kNone;
    if (outcome == CallOutcome::kBad) {
      control = Opened(control, now);
      change = BreakerChange::kReopened;
    } else if (outcome == CallOutcome::kGood &&
               ++control.succeeded >= std::max<uint64_t>(1, config_.probes)) {
      control = {BreakerPhase::kClosed, control.doublings, 0, 0, now};
      change = BreakerChange::kClosed;
      Forget(state);  // before others may count
    }
    if (state.control.compare_exchange_weak(word, control.Pack())) return change;
  }
  return BreakerChange::kNone;
}

// The open phase that follows `from` (closed or half-open).
Breaker::Control Breaker::Opened(const Control& from, uint64_t now) const {
  uint64_t doublings = from.doublings;
  if (from.phase == BreakerPhase::kClosed) {
    const uint64_t windows = now > from.time ? (now - from.time) / kWindow : 0;
    doublings -= std::min(doublings, windows);
  }
  uint64_t length = Bounded(config_.open_time);
  const uint64_t most = std::max(length, Bounded(config_.max_open_time));
  for (uint64_t i = 0; i < doublings && length < most; ++i) length *= 2;
  return {BreakerPhase::kOpen, std::min(doublings + 1, kMostDoublings), 0, 0,
          now + std::min(length, most)};
}

bool Breaker::ShouldOpen(const BreakerState& state, uint64_t in_a_row, uint64_t now) const {
  if (config_.consecutive_failures > 0 && in_a_row >= config_.consecutive_failures) return true;
  const Window window = Window::Sum(state, now);
  if (window.all < std::max(config_.minimum_requests, 1U)) return false;
  const auto reached = [&](uint64_t count, uint64_t percentage) {
    return percentage > 0 && count * 100 >= percentage * window.all;
  };
  return reached(window.failed, config_.failure_percentage) ||
         reached(window.slow, config_.slow_percentage);
}

BreakerView Breaker::Read(const BreakerState& state, TimePoint now) const {
  const uint64_t at = ToMilliseconds(now);
  const Control control = Control::Unpack(state.control.load(std::memory_order_acquire));
  const Window window = Window::Sum(state, at);
  return {.phase = control.phase,
          .time = TimePoint(milliseconds(control.time)),
          .share = control.phase == BreakerPhase::kClosed ? Share(control, at) : 1,
          .requests = static_cast<uint32_t>(window.all),
          .failed = static_cast<uint32_t>(window.failed),
          .slow = static_cast<uint32_t>(window.slow)};
}

void Breaker::Force(BreakerState& state, BreakerPhase phase, TimePoint now) {
  const bool closed = phase == BreakerPhase::kClosed;
  if (closed) Forget(state);
  state.control.store(Control{.phase = phase, .time = closed ? 0 : ToMilliseconds(now)}.Pack());
}

}  // namespace sluice::balancer
