#include "balancer/outlier.h"

#include <algorithm>
#include <barrier>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using namespace std::chrono_literals;  // NOLINT
using enum Outcome;
using enum EjectionReason;

constexpr TimePoint kStart(std::chrono::hours(100));

// An upstream's endpoints and a clock.
struct Upstream {
  explicit Upstream(size_t size, OutlierConfig config_in = {}) : config(config_in), words(size) {
    for (OutlierState& state : words) pointers.push_back(&state);
  }

  EjectionReason Report(size_t endpoint, Outcome outcome) {
    return Outlier(config).Report(words[endpoint], pointers, outcome, now);
  }
  // Reports S success, 5 server, G gateway, L local errors; gives the last answer.
  EjectionReason Report(size_t endpoint, const std::string& outcomes) {
    EjectionReason last = kNone;
    for (const char c : outcomes) {
      last = Report(endpoint, c == 'S'   ? kSuccess
                              : c == '5' ? kServerError
                              : c == 'G' ? kGatewayError
                                         : kLocalError);
    }
    return last;
  }
  bool IsEjected(size_t endpoint) const { return Outlier::IsEjected(words[endpoint], now); }
  size_t Ejected() const {
    return static_cast<size_t>(std::count_if(words.begin(), words.end(), [&](const auto& state) {
      return Outlier::IsEjected(state, now);
    }));
  }

  OutlierConfig config;
  std::vector<OutlierState> words;
  std::vector<OutlierState*> pointers;
  TimePoint now = kStart;
};

struct StreakCase {
  const char* outcomes;
  uint8_t errors;
  uint8_t gateway_errors;
  EjectionReason last;
};

class OutlierStreakTest : public testing::TestWithParam<StreakCase> {};

TEST_P(OutlierStreakTest, CountsInARow) {
  const StreakCase& param = GetParam();
  Upstream upstream(10);
  upstream.config.consecutive_errors = param.errors;
  upstream.config.consecutive_gateway_errors = param.gateway_errors;
  EXPECT_EQ(upstream.Report(0, param.outcomes), param.last);
  EXPECT_EQ(upstream.IsEjected(0), param.last != kNone);
}

INSTANTIATE_TEST_SUITE_P(, OutlierStreakTest,
                         testing::Values(StreakCase{"5555", 5, 0, kNone},
                                         StreakCase{"55555", 5, 0, kConsecutiveErrors},
                                         StreakCase{"5GL5L", 5, 0, kConsecutiveErrors},
                                         StreakCase{"5555S5555", 5, 0, kNone},
                                         StreakCase{"5555S55555", 5, 0, kConsecutiveErrors},
                                         StreakCase{"5555555555", 0, 0, kNone},
                                         StreakCase{"GLG", 0, 3, kConsecutiveGatewayErrors},
                                         StreakCase{"GG5GG", 0, 3, kNone},
                                         StreakCase{"GGSGG", 0, 3, kNone},
                                         StreakCase{"GGG", 3, 3, kConsecutiveErrors},
                                         StreakCase{"5GGG", 5, 3, kConsecutiveGatewayErrors}));

TEST(OutlierTest, EjectionTimeGrowsAndIsCapped) {
  Upstream upstream(10);
  const std::vector<std::chrono::seconds> lengths = {30s,  60s,  90s,  120s, 150s, 180s,
                                                     210s, 240s, 270s, 300s, 300s, 300s};
  for (size_t i = 0; i < lengths.size(); ++i) {
    ASSERT_EQ(upstream.Report(0, "55555"), kConsecutiveErrors);
    const Ejection ejection = Outlier::Read(upstream.words[0]);
    EXPECT_EQ(ejection.times, i + 1);
    EXPECT_EQ(ejection.reason, kConsecutiveErrors);
    EXPECT_EQ(ejection.until, upstream.now + lengths[i]);
    upstream.now = ejection.until - 1ms;
    EXPECT_TRUE(upstream.IsEjected(0));
    upstream.now += 1ms;
    EXPECT_FALSE(upstream.IsEjected(0));
  }
}

TEST(OutlierTest, TimeInServiceIsRemembered) {
  Upstream upstream(10);
  for (int i = 0; i < 4; ++i) {
    upstream.Report(0, "55555");
    upstream.now = Outlier::Read(upstream.words[0]).until;
  }
  upstream.now += 25s;  // two whole intervals: 4 - 2 + 1
  upstream.Report(0, "55555");
  EXPECT_EQ(Outlier::Read(upstream.words[0]).times, 3);
  upstream.now += 24h;
  upstream.Report(0, "55555");
  EXPECT_EQ(Outlier::Read(upstream.words[0]).times, 1);
}

TEST(OutlierTest, ReturnsWithACleanRecord) {
  Upstream upstream(10);
  upstream.Report(0, "55555");
  EXPECT_EQ(upstream.Report(0, "55555"), kNone) << "late answers of an ejected endpoint";
  upstream.now += 30s;
  EXPECT_EQ(upstream.Report(0, "5555"), kNone);
  EXPECT_EQ(upstream.Report(0, "5"), kConsecutiveErrors);
}

TEST(OutlierTest, ReadmittedAtOnce) {
  Upstream upstream(10);
  upstream.Report(0, "55555");
  Outlier::Readmit(upstream.words[0]);
  EXPECT_FALSE(upstream.IsEjected(0));
  EXPECT_EQ(upstream.Report(0, "5555"), kNone);
  upstream.Report(0, "5");
  EXPECT_EQ(Outlier::Read(upstream.words[0]).times, 1) << "its past is forgiven";
}

struct ShareCase {
  size_t endpoints;
  uint8_t percentage;
  bool always_one;
  size_t ejected;  // when all fail
};

class OutlierShareTest : public testing::TestWithParam<ShareCase> {};

TEST_P(OutlierShareTest, IsNotExceeded) {
  const ShareCase& param = GetParam();
  Upstream upstream(param.endpoints);
  upstream.config.max_ejection_percentage = param.percentage;
  upstream.config.always_eject_one = param.always_one;
  for (size_t i = 0; i < param.endpoints; ++i) upstream.Report(i, "5555555");
  EXPECT_EQ(upstream.Ejected(), param.ejected);
}

INSTANTIATE_TEST_SUITE_P(, OutlierShareTest,
                         testing::Values(ShareCase{10, 10, false, 1}, ShareCase{9, 10, false, 0},
                                         ShareCase{9, 10, true, 1}, ShareCase{1, 10, true, 1},
                                         ShareCase{19, 10, false, 1}, ShareCase{20, 10, false, 2},
                                         ShareCase{4, 50, false, 2}, ShareCase{4, 100, false, 4},
                                         ShareCase{4, 0, false, 0}, ShareCase{3, 0, true, 1}));

TEST(OutlierTest, RoomComesBackWhenAnEjectionEnds) {
  Upstream upstream(10);
  upstream.Report(0, "55555");
  EXPECT_EQ(upstream.Report(1, "555555"), kNone);
  upstream.now += 30s;
  EXPECT_EQ(upstream.Report(1, "5"), kConsecutiveErrors) << "it failed all the time";
}

TEST(OutlierTest, FailurePercentageNeedsHostsAndRequests) {
  OutlierConfig config;
  config.consecutive_errors = 0;
  config.failure_percentage = 85;
  Upstream few(4, config);
  EXPECT_EQ(few.Report(0, std::string(200, '5')), kNone) << "fewer than 5 hosts";
  EXPECT_EQ(few.Ejected(), 0U);
  Upstream upstream(10, config);
  EXPECT_EQ(upstream.Report(0, std::string(49, '5')), kNone);
  EXPECT_EQ(upstream.Report(0, "5"), kFailurePercentage);
  // 84 of 100 are too few, 85 are enough.
  EXPECT_EQ(upstream.Report(1, std::string(16, 'S') + std::string(84, '5')), kNone);
  EXPECT_FALSE(upstream.IsEjected(1));
  Upstream other(10, config);
  EXPECT_EQ(other.Report(1, std::string(15, 'S') + std::string(85, '5')), kFailurePercentage);
}

TEST(OutlierTest, EachIntervalIsJudgedAlone) {
  OutlierConfig config;
  config.consecutive_errors = 0;
  config.failure_percentage = 85;
  Upstream upstream(10, config);
  upstream.Report(0, std::string(49, '5'));
  upstream.now += 10s;
  EXPECT_EQ(upstream.Report(0, std::string(49, '5')), kNone);
  EXPECT_FALSE(upstream.IsEjected(0));
}

TEST(OutlierTest, ManyRequestsKeepTheirShare) {
  OutlierConfig config;
  config.consecutive_errors = 0;
  config.failure_percentage = 85;
  Upstream upstream(10, config);
  std::string ten = "SSSSS55555";
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(upstream.Report(0, ten), kNone);
  // Half of what is counted failed; only more failures than are counted can make it 85 %.
  EXPECT_EQ(upstream.Report(0, std::string(30'000, '5')), kNone);
  EXPECT_FALSE(upstream.IsEjected(0));
}

TEST(OutlierTest, AnyParametersAreTaken) {
  OutlierConfig config;
  config.interval = 0ms;
  config.base_ejection_time = milliseconds::max();
  config.max_ejection_time = milliseconds::min();
  Upstream upstream(10, config);
  EXPECT_EQ(upstream.Report(0, "55555"), kConsecutiveErrors);
  upstream.now += std::chrono::hours(24 * 365);
  EXPECT_TRUE(upstream.IsEjected(0));
}

TEST(OutlierTest, ShareHoldsWhenWorkersEjectAtOnce) {
  constexpr size_t kEndpoints = 20;
  Upstream upstream(kEndpoints);
  upstream.config.max_ejection_percentage = 20;
  const Outlier outlier(upstream.config);
  std::vector<std::thread> workers;
  for (size_t w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      for (size_t i = 0; i < 20'000; ++i) {
        const size_t endpoint = (i + w * 5) % kEndpoints;
        outlier.Report(upstream.words[endpoint], upstream.pointers, kServerError, kStart);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_LE(upstream.Ejected(), 4U);
  EXPECT_GE(upstream.Ejected(), 1U);
}

// Every worker ejects another endpoint in the same moment, where one is the limit.
TEST(OutlierTest, WorkersThatEjectInTheSameMomentGiveWay) {
  constexpr size_t kWorkers = 4;
  for (int round = 0; round < 300; ++round) {
    Upstream upstream(10);
    const Outlier outlier(upstream.config);
    for (size_t i = 0; i < kWorkers; ++i) upstream.Report(i, "5555");
    std::barrier start(kWorkers);
    std::vector<std::thread> workers;
    for (size_t w = 0; w < kWorkers; ++w) {
      workers.emplace_back([&, w] {
        start.arrive_and_wait();
        outlier.Report(upstream.words[w], upstream.pointers, kServerError, kStart);
      });
    }
    for (std::thread& worker : workers) worker.join();
    ASSERT_LE(upstream.Ejected(), 1U);
  }
}

TEST(OutlierTest, NoOutcomeOfAnyWorkerIsLost) {
  OutlierConfig config;
  config.consecutive_errors = 0;
  Upstream upstream(2, config);
  const Outlier outlier(config);
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      for (int i = 0; i < 10'000; ++i) {
        outlier.Report(upstream.words[0], upstream.pointers, w == 0 ? kServerError : kSuccess,
                       kStart);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const uint64_t word = upstream.words[0].counts;
  EXPECT_EQ(word & 0xffff, 40'000U);
  EXPECT_EQ(word >> 16 & 0xffff, 10'000U);
}

}  // namespace
}  // namespace sluice::balancer
