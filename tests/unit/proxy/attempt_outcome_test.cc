#include "gateway/proxy/attempt_outcome.h"

#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

using balancer::Outcome;

std::optional<CheckResult> Judged(const conf::PassiveCheck& check, AttemptEnd end) {
  const auto report = JudgePassively(check, end);
  return report ? std::optional(report->result) : std::nullopt;
}

std::shared_ptr<Endpoint> MakeEndpoint(const std::string& address) {
  return std::make_shared<Endpoint>(nullptr, "upstream/u", *SocketAddress::Make(address));
}

TEST(AttemptOutcomeTest, PassiveChecksCountStatusesOfTheirLists) {
  const conf::PassiveCheck check;
  EXPECT_EQ(Judged(check, {.status = 200}), CheckResult::kSuccess);
  EXPECT_EQ(Judged(check, {.status = 429}), CheckResult::kHttpFailure);
  EXPECT_EQ(Judged(check, {.status = 502}), std::nullopt);
  EXPECT_EQ(Judged(check, {.status = 404}), std::nullopt);
}

TEST(AttemptOutcomeTest, PassiveChecksOfTypeTcpIgnoreStatuses) {
  const conf::PassiveCheck check{.type = conf::CheckType::kTcp};
  EXPECT_EQ(Judged(check, {.status = 500}), CheckResult::kSuccess);
  EXPECT_EQ(Judged(check, {.error = ErrorCode::kConnectRefused}), CheckResult::kTcpFailure);
}

TEST(AttemptOutcomeTest, ErrorsAreFailuresOfTheirKind) {
  const conf::PassiveCheck check;
  const auto result = [&](ErrorCode error) { return Judged(check, {.error = error}); };
  EXPECT_EQ(result(ErrorCode::kConnectRefused), CheckResult::kTcpFailure);
  EXPECT_EQ(result(ErrorCode::kUpstreamReset), CheckResult::kTcpFailure);
  EXPECT_EQ(result(ErrorCode::kResponseTruncated), CheckResult::kTcpFailure);
  EXPECT_EQ(result(ErrorCode::kConnectTimeout), CheckResult::kTimeout);
  EXPECT_EQ(result(ErrorCode::kUpstreamReadTimeout), CheckResult::kTimeout);
  EXPECT_EQ(result(ErrorCode::kInvalidResponse), CheckResult::kHttpFailure);
  EXPECT_EQ(result(ErrorCode::kNoHealthyNode), std::nullopt);
  EXPECT_EQ(result(ErrorCode::kClientClosed), std::nullopt);
}

TEST(AttemptOutcomeTest, OutliersCountWhatTheServerHasCaused) {
  EXPECT_EQ(OutcomeOf({.status = 200}), Outcome::kSuccess);
  EXPECT_EQ(OutcomeOf({.status = 429}), Outcome::kSuccess);
  EXPECT_EQ(OutcomeOf({.status = 101}), Outcome::kSuccess);
  EXPECT_EQ(OutcomeOf({.status = 500}), Outcome::kServerError);
  EXPECT_EQ(OutcomeOf({.status = 501}), Outcome::kServerError);
  EXPECT_EQ(OutcomeOf({.status = 502}), Outcome::kGatewayError);
  EXPECT_EQ(OutcomeOf({.status = 504}), Outcome::kGatewayError);
  EXPECT_EQ(OutcomeOf({.status = 505}), Outcome::kServerError);
  EXPECT_EQ(OutcomeOf({.error = ErrorCode::kUpstreamClosed}), Outcome::kLocalError);
  EXPECT_EQ(OutcomeOf({.error = ErrorCode::kClientClosed}), std::nullopt);
}

TEST(AttemptOutcomeTest, NothingIsCountedWithoutConfiguration) {
  const std::vector<std::shared_ptr<Endpoint>> all = {MakeEndpoint("127.0.0.1:1")};
  const conf::UpstreamConfig config;
  ReportOutcome(*all[0], all, config, {.error = ErrorCode::kConnectRefused}, MonoTime());
  EXPECT_EQ(all[0]->shared->checks, 0u);
  EXPECT_EQ(all[0]->shared->outlier.counts, 0u);
  EXPECT_FALSE(IsFailure(config, 503));
}

TEST(AttemptOutcomeTest, PassiveChecksTakeANodeOut) {
  const std::vector<std::shared_ptr<Endpoint>> all = {MakeEndpoint("127.0.0.1:1")};
  conf::UpstreamConfig config;
  config.checks.emplace();
  config.checks->passive.emplace();
  EXPECT_TRUE(IsFailure(config, 503));
  EXPECT_FALSE(IsFailure(config, 502));
  ReportOutcome(*all[0], all, config, {.status = 200}, MonoTime());
  EXPECT_EQ(all[0]->shared->checks, 0u);  // a clean word is left alone
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(IsHealthy(*all[0]->shared)) << i;
    ReportOutcome(*all[0], all, config, {.status = 503}, MonoTime());
  }
  EXPECT_FALSE(IsHealthy(*all[0]->shared));
}

TEST(AttemptOutcomeTest, OutliersAreEjectedUpToTheirShare) {
  const std::vector<std::shared_ptr<Endpoint>> all = {MakeEndpoint("127.0.0.1:1"),
                                                      MakeEndpoint("127.0.0.1:2")};
  conf::UpstreamConfig config;
  config.outlier.emplace();
  config.outlier->consecutive_errors = 2;
  config.outlier->max_ejection_percent = 50;
  const MonoTime now{seconds(1000)};
  for (const auto& endpoint : all) {
    for (int i = 0; i < 2; ++i) ReportOutcome(*endpoint, all, config, {.status = 500}, now);
  }
  EXPECT_TRUE(balancer::Outlier::IsEjected(all[0]->shared->outlier, now));
  EXPECT_FALSE(balancer::Outlier::IsEjected(all[1]->shared->outlier, now));
  EXPECT_FALSE(balancer::Outlier::IsEjected(all[0]->shared->outlier, now + seconds(30)));
}

}  // namespace
}  // namespace sluice
