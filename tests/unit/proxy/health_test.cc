#include "gateway/proxy/health.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr CheckReport kGood{CheckResult::kSuccess, 200};
constexpr CheckReport kHttp{CheckResult::kHttpFailure, 500};
constexpr CheckReport kTcp{CheckResult::kTcpFailure};
constexpr CheckReport kTimeout{CheckResult::kTimeout};

HealthWord Word(Health health, std::array<uint8_t, 4> counts) {
  HealthWord word;
  word.health = health;
  word.counts = counts;
  return word;
}

struct Step {
  const char* name;
  HealthWord before;
  CheckReport report;
  uint8_t limit;
  Health health;
  std::array<uint8_t, 4> counts;  // successes, HTTP, TCP, timeouts
};

class HealthTransitionTest : public testing::TestWithParam<Step> {};

TEST_P(HealthTransitionTest, IsAsInTheTable) {
  const Step& step = GetParam();
  const HealthWord after = NextHealth(step.before, step.report, step.limit);
  EXPECT_EQ(HealthName(after.health), HealthName(step.health));
  EXPECT_EQ(after.counts, step.counts);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HealthTransitionTest,
    testing::Values(Step{"FirstFailure", {}, kHttp, 2, Health::kMostlyHealthy, {0, 1, 0, 0}},
                    Step{"OneIsEnough", {}, kTcp, 1, Health::kUnhealthy, {0, 0, 1, 0}},
                    Step{"LastFailure",
                         Word(Health::kMostlyHealthy, {0, 1, 0, 0}),
                         kHttp,
                         2,
                         Health::kUnhealthy,
                         {0, 2, 0, 0}},
                    Step{"KindsAreCountedApart",
                         Word(Health::kMostlyHealthy, {0, 4, 1, 0}),
                         kTimeout,
                         3,
                         Health::kMostlyHealthy,
                         {0, 4, 1, 1}},
                    Step{"OffCountsNothing",
                         Word(Health::kMostlyHealthy, {0, 1, 0, 0}),
                         kHttp,
                         0,
                         Health::kMostlyHealthy,
                         {0, 1, 0, 0}},
                    Step{"HealthyCountsNoSuccess",
                         Word(Health::kHealthy, {2, 0, 0, 0}),
                         kGood,
                         2,
                         Health::kHealthy,
                         {2, 0, 0, 0}},
                    Step{"FailureClearsSuccesses",
                         Word(Health::kHealthy, {2, 0, 0, 0}),
                         kHttp,
                         3,
                         Health::kMostlyHealthy,
                         {0, 1, 0, 0}},
                    Step{"SuccessClearsFailures",
                         Word(Health::kMostlyHealthy, {0, 4, 1, 2}),
                         kGood,
                         2,
                         Health::kMostlyHealthy,
                         {1, 0, 0, 0}},
                    Step{"HealthyAgain",
                         Word(Health::kMostlyHealthy, {1, 0, 0, 0}),
                         kGood,
                         2,
                         Health::kHealthy,
                         {2, 0, 0, 0}},
                    Step{"UnhealthyCountsNoFailure",
                         Word(Health::kUnhealthy, {0, 5, 0, 0}),
                         kTcp,
                         2,
                         Health::kUnhealthy,
                         {0, 5, 0, 0}},
                    Step{"FirstSuccess",
                         Word(Health::kUnhealthy, {0, 5, 0, 0}),
                         kGood,
                         2,
                         Health::kMostlyUnhealthy,
                         {1, 0, 0, 0}},
                    Step{"OneSuccessIsEnough",
                         Word(Health::kUnhealthy, {0, 5, 0, 0}),
                         kGood,
                         1,
                         Health::kHealthy,
                         {1, 0, 0, 0}},
                    Step{"Relapse",
                         Word(Health::kMostlyUnhealthy, {1, 0, 0, 0}),
                         kHttp,
                         2,
                         Health::kMostlyUnhealthy,
                         {0, 1, 0, 0}},
                    Step{"WholeRelapse",
                         Word(Health::kMostlyUnhealthy, {0, 1, 0, 0}),
                         kHttp,
                         2,
                         Health::kUnhealthy,
                         {0, 2, 0, 0}},
                    Step{"CountsEndAtTheLargest",
                         Word(Health::kMostlyHealthy, {0, 255, 0, 0}),
                         kHttp,
                         255,
                         Health::kUnhealthy,
                         {0, 255, 0, 0}}),
    [](const testing::TestParamInfo<Step>& test) { return test.param.name; });

TEST(HealthTest, OnlyTheTwoUnhealthyStatesAreUnhealthy) {
  EXPECT_TRUE(Word(Health::kHealthy, {}).is_healthy());
  EXPECT_TRUE(Word(Health::kMostlyHealthy, {}).is_healthy());
  EXPECT_FALSE(Word(Health::kMostlyUnhealthy, {}).is_healthy());
  EXPECT_FALSE(Word(Health::kUnhealthy, {}).is_healthy());
}

TEST(HealthTest, ZeroIsAHealthyNode) {
  EXPECT_EQ(HealthWord().Pack(), 0u);
  EXPECT_TRUE(IsHealthy(SharedRecord()));
}

TEST(HealthTest, AWordComesBackAsItWasPacked) {
  HealthWord word = Word(Health::kMostlyUnhealthy, {1, 2, 3, 254});
  word.cause = CheckResult::kTimeout;
  word.status = 599;
  EXPECT_EQ(HealthWord::Unpack(word.Pack()), word);
}

TEST(HealthTest, StatusesAreJudgedByTheLists) {
  const conf::HealthRules rules = conf::ActiveCheck().rules;
  EXPECT_EQ(JudgeStatus(rules, 200)->result, CheckResult::kSuccess);
  EXPECT_EQ(JudgeStatus(rules, 503)->result, CheckResult::kHttpFailure);
  EXPECT_EQ(JudgeStatus(rules, 503)->status, 503);
  for (const int status : {-1, 0, 100, 201, 418, 599, 600, 999}) {
    EXPECT_EQ(JudgeStatus(rules, status), std::nullopt) << status;
  }
}

TEST(HealthTest, TellsOfEachChangeOnce) {
  SharedRecord record;
  conf::HealthRules rules;
  rules.http_failures = 2;
  EXPECT_EQ(ReportHealth(record, rules, kHttp), HealthChange::kNone);
  EXPECT_EQ(ReportHealth(record, rules, kHttp), HealthChange::kDown);
  EXPECT_EQ(ReportHealth(record, rules, kHttp), HealthChange::kNone);
  EXPECT_EQ(ReadHealth(record).cause, CheckResult::kHttpFailure);
  EXPECT_EQ(ReadHealth(record).status, 500);
  EXPECT_FALSE(IsHealthy(record));
  EXPECT_EQ(ReportHealth(record, rules, kGood), HealthChange::kNone);
  EXPECT_FALSE(IsHealthy(record));
  EXPECT_EQ(ReportHealth(record, rules, kGood), HealthChange::kUp);
  EXPECT_TRUE(IsHealthy(record));
  EXPECT_EQ(ReportHealth(record, rules, kGood), HealthChange::kNone);
}

TEST(HealthTest, ManyReportersMakeOneChange) {
  SharedRecord record;
  conf::HealthRules rules;
  rules.http_failures = 200;
  std::atomic<int> changes = 0;
  std::vector<std::thread> reporters;
  for (int i = 0; i < 4; ++i) {
    reporters.emplace_back([&] {
      for (int j = 0; j < 100; ++j) {
        if (ReportHealth(record, rules, kHttp) == HealthChange::kDown) ++changes;
      }
    });
  }
  for (std::thread& reporter : reporters) reporter.join();
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(ReadHealth(record).counts[1], 200);  // none was lost on the way
}

}  // namespace
}  // namespace sluice
