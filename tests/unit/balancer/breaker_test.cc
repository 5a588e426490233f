#include "balancer/breaker.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using namespace std::chrono_literals;  // NOLINT
using enum BreakerChange;
using enum CallOutcome;
using Kind = BreakerPass::Kind;

constexpr TimePoint kStart(std::chrono::hours(50));

BreakerConfig Strict() {
  BreakerConfig config;
  config.consecutive_failures = 3;
  config.failure_percentage = 0;
  config.probes = 2;
  return config;
}

struct Circuit {
  explicit Circuit(const BreakerConfig& config_in = {}) : config(config_in) {}

  BreakerPass Admit() { return Breaker(config).Admit(state, now, random); }
  BreakerChange Report(const BreakerPass& pass, CallOutcome outcome, nanoseconds latency = 1ms) {
    return Breaker(config).Report(state, pass, outcome, latency, now);
  }
  BreakerChange Call(CallOutcome outcome, nanoseconds latency = 1ms) {
    return Report(Admit(), outcome, latency);
  }
  // Many calls with the same end; how the last changed the breaker.
  BreakerChange Calls(int count, CallOutcome outcome, nanoseconds latency = 1ms) {
    BreakerChange last = kNone;
    for (int i = 0; i < count; ++i) last = Call(outcome, latency);
    return last;
  }
  BreakerView Read() const { return Breaker(config).Read(state, now); }
  BreakerPhase phase() const { return Read().phase; }
  nanoseconds OpenFor() const { return Read().time - now; }

  BreakerConfig config;
  BreakerState state;
  TimePoint now = kStart;
  uint64_t random = 0;  // in the ramp: admitted
};

// One that three failures have opened, some time ago.
struct OpenCircuit : Circuit {
  explicit OpenCircuit(nanoseconds since = 0s) : Circuit(Strict()) {
    Calls(3, kBad);
    now += since;
  }
};

TEST(BreakerTest, StartsClosedAndAdmitsAll) {
  Circuit circuit;
  circuit.random = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(circuit.Admit().kind, Kind::kNormal);
  EXPECT_EQ(circuit.phase(), BreakerPhase::kClosed);
  EXPECT_EQ(circuit.Read().share, 1);
}

TEST(BreakerTest, OpensAfterFailuresInARow) {
  Circuit circuit(Strict());
  circuit.Calls(2, kBad);
  circuit.Call(kGood);
  EXPECT_EQ(circuit.Calls(2, kBad), kNone);
  EXPECT_EQ(circuit.Call(kIgnored), kNone) << "an aborted call is neither";
  EXPECT_EQ(circuit.Call(kBad), kOpened);
  const BreakerPass pass = circuit.Admit();
  EXPECT_EQ(pass.kind, Kind::kRefused);
  EXPECT_EQ(pass.retry_after, 5s);
  circuit.now += 2s;
  EXPECT_EQ(circuit.Admit().retry_after, 3s);
  EXPECT_EQ(circuit.Report(pass, kBad), kNone);
}

struct RatioCase {
  int good;
  int bad;
  uint32_t minimum;
  uint8_t percentage;
  BreakerChange last;
};

class BreakerRatioTest : public testing::TestWithParam<RatioCase> {};

TEST_P(BreakerRatioTest, OpensAtTheShare) {
  const RatioCase& param = GetParam();
  for (const bool by_latency : {false, true}) {
    BreakerConfig config;
    config.minimum_requests = param.minimum;
    (by_latency ? config.slow_percentage : config.failure_percentage) = param.percentage;
    (by_latency ? config.failure_percentage : config.slow_percentage) = 0;
    Circuit circuit(config);
    circuit.Calls(param.good, kGood);
    const BreakerChange last =
        by_latency ? circuit.Calls(param.bad, kGood, 1s) : circuit.Calls(param.bad, kBad);
    EXPECT_EQ(last, param.last) << "by latency " << by_latency;
  }
}

INSTANTIATE_TEST_SUITE_P(
    , BreakerRatioTest,
    testing::Values(RatioCase{10, 10, 20, 50, kOpened}, RatioCase{11, 10, 20, 50, kNone},
                    RatioCase{0, 19, 20, 50, kNone}, RatioCase{0, 20, 20, 50, kOpened},
                    RatioCase{0, 20, 20, 100, kOpened}, RatioCase{1, 50, 20, 100, kNone},
                    RatioCase{0, 1, 0, 50, kOpened}, RatioCase{99, 1, 20, 1, kOpened},
                    RatioCase{0, 100, 20, 0, kNone}));

TEST(BreakerTest, TheWindowForgets) {
  Circuit circuit;
  circuit.Calls(19, kBad);
  circuit.now += 10s;
  EXPECT_EQ(circuit.Call(kBad), kNone);
  EXPECT_EQ(circuit.Read().requests, 1U);
  Circuit other;
  other.Calls(19, kBad);
  other.now += 9s;
  EXPECT_EQ(other.Call(kBad), kOpened);
}

TEST(BreakerTest, TheWindowIsTenSecondsLong) {
  Circuit circuit;
  circuit.config.failure_percentage = 100;
  for (int second = 0; second < 25; ++second) {
    circuit.Calls(10, kGood);
    circuit.Call(kBad);
    EXPECT_EQ(circuit.Read().requests, 11U * static_cast<uint32_t>(std::min(second + 1, 10)));
    EXPECT_EQ(circuit.Read().failed, static_cast<uint32_t>(std::min(second + 1, 10)));
    circuit.now += 1s;
  }
}

TEST(BreakerTest, AnotherWorkersClockMayBeASecondAhead) {
  Circuit circuit;
  circuit.now += 1s;
  circuit.Calls(5, kBad);
  circuit.now -= 1s;
  EXPECT_EQ(circuit.Read().failed, 5U);
  circuit.now -= 3s;
  EXPECT_EQ(circuit.Read().failed, 0U) << "but a word of another time is not of the window";
}

TEST(BreakerTest, FullBucketsKeepTheirShares) {
  Circuit circuit;
  circuit.config.failure_percentage = 60;
  for (int i = 0; i < 100'000; ++i) ASSERT_EQ(circuit.Call(i % 2 == 0 ? kGood : kBad), kNone);
  const BreakerView view = circuit.Read();
  EXPECT_NEAR(static_cast<double>(view.failed) / view.requests, 0.5, 0.01);
}

TEST(BreakerTest, HalfOpenAdmitsAFewAndClosesWhenTheySucceed) {
  OpenCircuit circuit(5s);
  const BreakerPass first = circuit.Admit();
  EXPECT_EQ(first.kind, Kind::kProbe);
  EXPECT_EQ(circuit.phase(), BreakerPhase::kHalfOpen);
  const BreakerPass second = circuit.Admit();
  EXPECT_EQ(second.kind, Kind::kProbe);
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
  EXPECT_EQ(circuit.Report(first, kGood), kNone);
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused) << "one succeeded, one is out: enough";
  EXPECT_EQ(circuit.Report(second, kGood), kClosed);
  EXPECT_EQ(circuit.phase(), BreakerPhase::kClosed);
  EXPECT_EQ(circuit.Read().requests, 0U) << "starts afresh";
}

TEST(BreakerTest, AnIgnoredProbeGivesItsPlaceBack) {
  OpenCircuit circuit(5s);
  const BreakerPass first = circuit.Admit();
  circuit.Admit();
  EXPECT_EQ(circuit.Report(first, kIgnored), kNone);
  EXPECT_EQ(circuit.Admit().kind, Kind::kProbe);
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
}

TEST(BreakerTest, AFailedOrSlowProbeReopens) {
  for (const bool slow : {false, true}) {
    OpenCircuit circuit(5s);
    circuit.config.slow_percentage = 50;
    const BreakerPass first = circuit.Admit();
    const BreakerPass second = circuit.Admit();
    EXPECT_EQ(circuit.Report(first, slow ? kGood : kBad, slow ? 2s : 1ms), kReopened);
    EXPECT_EQ(circuit.OpenFor(), 10s);
    EXPECT_EQ(circuit.Report(second, kGood), kNone) << "of a round that is over";
    EXPECT_EQ(circuit.phase(), BreakerPhase::kOpen);
  }
}

TEST(BreakerTest, OpenTimeDoublesToTheCap) {
  OpenCircuit circuit;
  for (const auto length : {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s, 300s}) {
    EXPECT_EQ(circuit.OpenFor(), length);
    circuit.now += length - 1ms;
    EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
    circuit.now += 1ms;
    EXPECT_EQ(circuit.Call(kBad), kReopened);
  }
}

TEST(BreakerTest, OpenTimeHalvesForEachWindowSpentClosed) {
  OpenCircuit circuit;
  for (int i = 0; i < 3; ++i) {
    circuit.now += circuit.OpenFor();
    circuit.Call(kBad);
  }
  EXPECT_EQ(circuit.OpenFor(), 40s);
  circuit.now += 40s;
  circuit.Calls(2, kGood);
  circuit.now += 29s;  // two whole windows: 80 s would be next, now 20
  EXPECT_EQ(circuit.Calls(3, kBad), kOpened);
  EXPECT_EQ(circuit.OpenFor(), 20s);
  circuit.now += 20s;
  circuit.Calls(2, kGood);
  circuit.now += 24h;
  circuit.Calls(3, kBad);
  EXPECT_EQ(circuit.OpenFor(), 5s);
}

TEST(BreakerTest, LostProbesAreSentAgain) {
  OpenCircuit circuit(5s);
  const BreakerPass lost = circuit.Admit();
  circuit.Admit();
  circuit.now += 30s - 1ms;
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
  circuit.now += 1ms;
  const BreakerPass again = circuit.Admit();
  EXPECT_EQ(again.kind, Kind::kProbe);
  EXPECT_EQ(circuit.Report(lost, kBad), kNone) << "too late to count";
  EXPECT_EQ(circuit.Report(again, kGood), kNone);
  EXPECT_EQ(circuit.Call(kGood), kClosed);
}

TEST(BreakerTest, TheRampAdmitsAGrowingShare) {
  OpenCircuit circuit(5s);
  circuit.Calls(2, kGood);
  const TimePoint closed = circuit.now;
  uint64_t seed = 5;
  for (const double part : {0.0, 0.05, 0.25, 0.5, 0.9, 1.0, 2.0}) {
    circuit.now = closed + std::chrono::duration_cast<milliseconds>(part * 10s);
    const double share = std::clamp(part, 0.1, 1.0);
    EXPECT_DOUBLE_EQ(circuit.Read().share, share);
    int admitted = 0;
    std::mt19937_64 random(++seed);
    for (int i = 0; i < 10'000; ++i) {
      circuit.random = random();
      admitted += circuit.Admit().kind == Kind::kNormal ? 1 : 0;
    }
    EXPECT_NEAR(admitted, share * 10'000, 200) << part;
  }
  circuit.config.ramp = 0ms;
  circuit.now = closed;
  EXPECT_EQ(circuit.Read().share, 1) << "no ramp wanted";
}

TEST(BreakerTest, FailuresInTheRampOpenAgain) {
  OpenCircuit circuit(5s);
  circuit.Calls(2, kGood);
  circuit.now += 1s;
  EXPECT_EQ(circuit.Calls(3, kBad), kOpened);
  EXPECT_EQ(circuit.OpenFor(), 10s);
}

TEST(BreakerTest, OutcomesOfAnEarlierPeriodCountNothing) {
  Circuit circuit(Strict());
  std::vector<BreakerPass> old;
  for (int i = 0; i < 10; ++i) old.push_back(circuit.Admit());
  circuit.Calls(3, kBad);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(circuit.Report(old[0], kBad), kNone);
  circuit.now += 5s;
  circuit.Calls(2, kGood);
  for (const BreakerPass& pass : old) EXPECT_EQ(circuit.Report(pass, kBad), kNone);
  EXPECT_EQ(circuit.phase(), BreakerPhase::kClosed);
  EXPECT_EQ(circuit.Read().requests, 0U);
}

TEST(BreakerTest, OperatorForcesEitherWay) {
  Circuit circuit(Strict());
  Breaker::Force(circuit.state, BreakerPhase::kForcedClosed, circuit.now);
  EXPECT_EQ(circuit.Calls(100, kBad), kNone);
  EXPECT_EQ(circuit.Admit().kind, Kind::kNormal);
  Breaker::Force(circuit.state, BreakerPhase::kForcedOpen, circuit.now);
  circuit.now += 24h;
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
  EXPECT_EQ(circuit.Admit().retry_after, 5s);
  Breaker::Force(circuit.state, BreakerPhase::kClosed, circuit.now);
  EXPECT_EQ(circuit.Read().share, 1) << "no ramp after force";
  EXPECT_EQ(circuit.Calls(3, kBad), kOpened);
  EXPECT_EQ(circuit.OpenFor(), 5s);
}

TEST(BreakerTest, AnyParametersAreTaken) {
  Circuit circuit(Strict());
  circuit.config.open_time = milliseconds::max();
  circuit.config.max_open_time = milliseconds::min();
  circuit.config.probe_limit = milliseconds::min();
  circuit.config.ramp = milliseconds::max();
  circuit.config.probes = 0;
  circuit.Calls(3, kBad);
  EXPECT_EQ(circuit.phase(), BreakerPhase::kOpen);
  circuit.now += std::chrono::hours(24 * 365);
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
  circuit.config.open_time = -5ms;
  Breaker::Force(circuit.state, BreakerPhase::kClosed, circuit.now);
  circuit.Calls(3, kBad);
  circuit.now += 1ms;
  EXPECT_EQ(circuit.Call(kGood), kClosed);
}

TEST(BreakerTest, StatusesThatAreFailures) {
  EXPECT_EQ(OutcomeOfStatus(200, true), kGood);
  EXPECT_EQ(OutcomeOfStatus(404, true), kGood);
  EXPECT_EQ(OutcomeOfStatus(429, false), kGood);
  EXPECT_EQ(OutcomeOfStatus(429, true), kBad);
  EXPECT_EQ(OutcomeOfStatus(500, false), kBad);
}

// The same machine in plain words, for one process: what is compared with.
class Model {
 public:
  explicit Model(const BreakerConfig& config) : config_(config) {}

  Kind Admit(int64_t now, double random) {
    if (phase_ == BreakerPhase::kOpen && now >= time_) {
      phase_ = BreakerPhase::kHalfOpen;
      StartRound(now);
    }
    if (phase_ == BreakerPhase::kOpen) return Kind::kRefused;
    if (phase_ == BreakerPhase::kClosed) {
      const double passed = static_cast<double>(now - time_);
      const double share = time_ == 0 ? 1 : std::max(0.1, passed / 10'000);
      return random < share ? Kind::kNormal : Kind::kRefused;
    }
    if (now >= time_ + config_.probe_limit.count()) StartRound(now);
    if (out_ + good_ >= config_.probes) return Kind::kRefused;
    ++out_;
    return Kind::kProbe;
  }

  void Report(Kind kind, int64_t round, CallOutcome outcome, bool slow, int64_t now) {
    if (kind == Kind::kRefused || round != time_) return;
    if (kind == Kind::kProbe && phase_ == BreakerPhase::kHalfOpen) {
      --out_;
      if (outcome == kBad || (outcome == kGood && slow)) return Open(doublings_, now);
      if (outcome == kGood && ++good_ == config_.probes) {
        phase_ = BreakerPhase::kClosed;
        time_ = now;
        in_a_row_ = 0;
        calls_.clear();
      }
      return;
    }
    if (kind != Kind::kNormal || phase_ != BreakerPhase::kClosed || outcome == kIgnored) return;
    calls_.push_back({now / 1000, outcome == kBad, slow});
    while (calls_.front().second <= now / 1000 - 10) calls_.pop_front();
    in_a_row_ = outcome == kBad ? in_a_row_ + 1 : 0;
    if (outcome == kGood && !slow) return;
    const auto count = [&](bool Call::*member) {
      return static_cast<size_t>(std::count_if(calls_.begin(), calls_.end(),
                                               [&](const Call& call) { return call.*member; }));
    };
    const bool enough = calls_.size() >= config_.minimum_requests;
    if (in_a_row_ >= config_.consecutive_failures ||
        (enough && count(&Call::failed) * 100 >= config_.failure_percentage * calls_.size()) ||
        (enough && count(&Call::slow) * 100 >= config_.slow_percentage * calls_.size())) {
      Open(std::max<int64_t>(0, doublings_ - (now - time_) / 10'000), now);
    }
  }

  BreakerPhase phase() const { return phase_; }
  int64_t time() const { return time_; }

 private:
  struct Call {
    int64_t second;
    bool failed;
    bool slow;
  };

  void StartRound(int64_t now) {
    time_ = now;
    out_ = good_ = 0;
  }
  void Open(int64_t doublings, int64_t now) {
    phase_ = BreakerPhase::kOpen;
    time_ = now + std::min(config_.max_open_time.count(), config_.open_time.count()
                                                              << std::min<int64_t>(doublings, 20));
    doublings_ = std::min<int64_t>(doublings + 1, 31);
  }

  BreakerConfig config_;
  BreakerPhase phase_ = BreakerPhase::kClosed;
  int64_t time_ = 0;
  int64_t doublings_ = 0;
  int out_ = 0;
  int good_ = 0;
  uint32_t in_a_row_ = 0;
  std::deque<Call> calls_;
};

TEST(BreakerTest, FollowsTheModel) {
  std::mt19937_64 random(11);
  int opened = 0;
  for (int round = 0; round < 150; ++round) {
    BreakerConfig config;
    config.consecutive_failures = 1 + static_cast<uint32_t>(random() % 8);
    config.failure_percentage = static_cast<uint8_t>(20 + random() % 80);
    config.slow_percentage = static_cast<uint8_t>(20 + random() % 80);
    config.minimum_requests = 1 + static_cast<uint32_t>(random() % 30);
    config.probes = static_cast<uint8_t>(1 + random() % 5);
    config.open_time = milliseconds(100 + random() % 3000);
    config.max_open_time = config.open_time * (1 + random() % 20);
    config.probe_limit = milliseconds(500 + random() % 5000);
    Circuit circuit(config);
    Model model(config);
    std::vector<BreakerPass> out;
    const uint64_t bad_percentage = random() % 60;
    for (int step = 0; step < 2000; ++step) {
      circuit.now += milliseconds(random() % 20 == 0 ? random() % 20'000 : random() % 50);
      const auto now = static_cast<int64_t>(ToMilliseconds(circuit.now));
      if (random() % 2 == 0 || out.empty()) {
        circuit.random = random();
        const BreakerPass pass = circuit.Admit();
        const double unit = static_cast<double>(circuit.random >> 11) * 0x1p-53;
        ASSERT_EQ(pass.kind, model.Admit(now, unit)) << "step " << step;
        if (pass.kind != Kind::kRefused) out.push_back(pass);
      } else {
        const size_t which = random() % out.size();
        const BreakerPass pass = out[which];
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(which));
        const bool slow = random() % 10 == 0;
        const CallOutcome outcome = random() % 10 == 0                ? kIgnored
                                    : random() % 100 < bad_percentage ? kBad
                                                                      : kGood;
        opened += circuit.Report(pass, outcome, slow ? 2s : 1ms) == kOpened ? 1 : 0;
        model.Report(pass.kind, static_cast<int64_t>(pass.round), outcome, slow, now);
      }
      ASSERT_EQ(circuit.phase(), model.phase()) << "round " << round << " step " << step;
      ASSERT_EQ(ToMilliseconds(circuit.Read().time), static_cast<uint64_t>(model.time()));
    }
  }
  EXPECT_GT(opened, 500) << "the test must reach what it tests";
}

TEST(BreakerTest, ProbesStayBoundedWithManyWorkers) {
  BreakerConfig config = Strict();
  config.probes = 3;
  const Breaker breaker(config);
  for (int round = 0; round < 50; ++round) {
    BreakerState state;
    for (int i = 0; i < 3; ++i) {
      breaker.Report(state, breaker.Admit(state, kStart, 0), kBad, 1ms, kStart);
    }
    const TimePoint now = kStart + 5s;
    std::atomic<int> out = 0;
    std::atomic<int> most = 0;
    std::atomic<int> closed = 0;
    std::vector<std::thread> workers;
    for (int w = 0; w < 4; ++w) {
      workers.emplace_back([&] {
        for (int i = 0; i < 300; ++i) {
          const BreakerPass pass = breaker.Admit(state, now, 0);
          if (pass.kind != Kind::kProbe) continue;
          const int here = ++out;
          int seen = most;
          while (here > seen && !most.compare_exchange_weak(seen, here)) {
          }
          std::this_thread::yield();
          --out;
          // Most are ignored, so that probing goes on; some succeed and close it in the end.
          const CallOutcome outcome = i % 40 == 39 ? kGood : kIgnored;
          closed += breaker.Report(state, pass, outcome, 1ms, now) == BreakerChange::kClosed;
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    EXPECT_LE(most, 3);
    EXPECT_GE(most, 1);
    EXPECT_LE(closed, 1) << "one worker is told";
  }
}

TEST(BreakerTest, OneWorkerOpensIt) {
  BreakerConfig config;
  config.minimum_requests = 100;
  const Breaker breaker(config);
  BreakerState state;
  std::atomic<int> opened = 0;
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        const BreakerPass pass = breaker.Admit(state, kStart, 0);
        opened += breaker.Report(state, pass, kBad, 1ms, kStart) == kOpened ? 1 : 0;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(opened, 1);
  EXPECT_EQ(breaker.Read(state, kStart).phase, BreakerPhase::kOpen);
}

TEST(BreakerTest, MayAdmitForetellsAdmitAndChangesNothing) {
  Circuit circuit(Strict());
  const auto may = [&] { return Breaker(circuit.config).MayAdmit(circuit.state, circuit.now); };
  EXPECT_TRUE(may());
  circuit.Calls(3, kBad);
  EXPECT_FALSE(may());
  circuit.now += circuit.OpenFor();
  EXPECT_TRUE(may());
  EXPECT_EQ(circuit.phase(), BreakerPhase::kOpen);  // only Admit makes it half-open
  const BreakerPass first = circuit.Admit();
  EXPECT_TRUE(may());
  const BreakerPass second = circuit.Admit();
  EXPECT_FALSE(may());
  circuit.Report(first, kIgnored);
  EXPECT_TRUE(may());  // that probe may be sent again
  circuit.Admit();
  EXPECT_FALSE(may());
  circuit.now += circuit.config.probe_limit;
  EXPECT_TRUE(may());
  EXPECT_EQ(second.kind, Kind::kProbe);
  Breaker::Force(circuit.state, BreakerPhase::kForcedOpen, circuit.now);
  EXPECT_FALSE(may());
  Breaker::Force(circuit.state, BreakerPhase::kForcedClosed, circuit.now);
  EXPECT_TRUE(may());
}

TEST(BreakerTest, MayAdmitLeavesTheRampToAdmit) {
  OpenCircuit circuit;
  circuit.now += circuit.OpenFor();
  EXPECT_EQ(circuit.Calls(2, kGood), kClosed);
  circuit.random = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(circuit.Admit().kind, Kind::kRefused);
  EXPECT_TRUE(Breaker(circuit.config).MayAdmit(circuit.state, circuit.now));
}

}  // namespace
}  // namespace sluice::balancer
