#include "balancer/api_breaker.h"

#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::balancer {
namespace {

using namespace std::chrono_literals;  // NOLINT

struct Api {
  // U: an unhealthy answer, H: a healthy one.
  void Report(const std::string& answers) {
    for (const char c : answers) ApiBreaker(config).Report(state, c == 'H', now);
  }
  milliseconds RefusedFor() const { return ApiBreaker(config).RefusedFor(state, now); }

  ApiBreakerConfig config;
  ApiBreakerState state;
  TimePoint now{std::chrono::hours(10)};
};

struct AnswersCase {
  const char* answers;
  milliseconds refused;
};

class ApiBreakerAnswersTest : public testing::TestWithParam<AnswersCase> {};

TEST_P(ApiBreakerAnswersTest, RefusesAsApisixDoes) {
  Api api;
  api.Report(GetParam().answers);
  EXPECT_EQ(api.RefusedFor(), GetParam().refused);
}

INSTANTIATE_TEST_SUITE_P(, ApiBreakerAnswersTest,
                         testing::Values(AnswersCase{"", 0ms}, AnswersCase{"HHHH", 0ms},
                                         AnswersCase{"UU", 0ms}, AnswersCase{"UUU", 2s},
                                         AnswersCase{"UHUHU", 2s},  // a few successes forgive none
                                         AnswersCase{"UUHHHU", 0ms}, AnswersCase{"UUUHH", 2s},
                                         AnswersCase{"UUUHHH", 0ms}, AnswersCase{"UUUHHUHH", 2s},
                                         AnswersCase{"UUUUU", 2s}, AnswersCase{"UUUUUU", 4s}));

TEST(ApiBreakerTest, BreaksDoubleToTheLimit) {
  Api api;
  for (const auto length : {2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s, 300s, 300s}) {
    api.Report("UUU");
    EXPECT_EQ(api.RefusedFor(), length);
    api.now += length;
    EXPECT_EQ(api.RefusedFor(), 0ms) << "then everything passes";
  }
  for (int i = 0; i < 100'000; ++i) api.Report("UUU");
  EXPECT_EQ(api.RefusedFor(), 300s) << "the count is bounded";
  api.Report("UU");
  api.now += 300s;
  api.Report("U");
  EXPECT_EQ(api.RefusedFor(), 300s) << "and keeps its place in the round";
  api.Report("HHH");
  api.Report("UUU");
  EXPECT_EQ(api.RefusedFor(), 2s);
}

TEST(ApiBreakerTest, TakesAnyParameters) {
  Api api;
  api.config = {.failures = 0, .successes = 0, .max_break = milliseconds::max()};
  for (int i = 0; i < 100; ++i) api.Report("U");
  EXPECT_EQ(api.RefusedFor(), 1'048'576s);
  api.Report("H");
  EXPECT_EQ(api.RefusedFor(), 0ms);
  api.config = {.failures = 4'000'000'000, .successes = 4'000'000'000, .max_break = -1ms};
  for (int i = 0; i < 100'000; ++i) api.Report("U");
  EXPECT_EQ(api.RefusedFor(), 0ms) << "no time to refuse for";
}

TEST(ApiBreakerTest, NoAnswerOfAnyWorkerIsLost) {
  Api api;
  api.config.failures = 2000;
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) ApiBreaker(api.config).Report(api.state, false, api.now);
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(api.RefusedFor(), 2s) << "exactly 2000 unhealthy answers";
}

}  // namespace
}  // namespace sluice::balancer
