#include "gateway/control/status.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "balancer/ewma.h"
#include "balancer/outlier.h"

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::Not;

class HostStatusTest : public testing::Test {
 protected:
  void SetUp() override {
    conf::Diagnostics diagnostics;
    config_ = conf::DecodeDocument(R"({
      "upstreams": [
        {"id": "a", "name": "shop", "type": "least_conn", "nodes": {"10.0.0.1:80": 1}},
        {"id": "b", "name": "shop", "nodes": {}}],
      "routes": [{"id": "b", "uri": "/", "upstream": {"nodes": {"10.0.0.2:80": 1}}}]})",
                                   diagnostics);
    ASSERT_NE(config_, nullptr) << diagnostics.ToText();
    id_ = *worker_->Acquire("upstream/a", "10.0.0.1:80");
    worker_->Acquire("route/b", "10.0.0.2:80");
    upstream_id_ = *worker_->Acquire("upstream/a");
    worker_->Add(EndpointTable::Counter::kRetries, upstream_id_);
  }

  SharedRecord& record() { return controller_->record(id_); }
  std::string Status() const { return HostStatus(*config_, *controller_).ToJson(3, plugins_); }
  std::string Order(std::string_view order, std::string_view upstream, std::string_view node) {
    const auto done = HostStatus(*config_, *controller_).OrderNode(order, upstream, node);
    return done.has_value() ? *done : "error: " + done.error().detail;
  }

  std::shared_ptr<EndpointTable> master_ = *EndpointTable::Make(2);
  std::shared_ptr<EndpointTable> worker_ = *EndpointTable::Map(master_->memory(), 2, 0);
  std::shared_ptr<EndpointTable> controller_ = *EndpointTable::Map(master_->memory(), 2, 1);
  std::shared_ptr<const conf::Config> config_;
  std::vector<PluginStatus> plugins_;
  uint32_t id_ = 0;
  uint32_t upstream_id_ = 0;
};

TEST_F(HostStatusTest, ShowsWhatWorkersShare) {
  worker_->Add(EndpointTable::Counter::kActive, id_);
  record().weight = 7;
  record().priority = -1;
  const std::string status = Status();
  EXPECT_THAT(status,
              HasSubstr(R"({"ok":true,"revision":3,"upstreams":[{"key":"upstream/a",)"
                        R"("id":"a","name":"shop","type":"least_conn","total":{"in_flight":0,)"
                        R"("retries":1,"pending":0,"connections":0,"breaker":{"phase":)"
                        R"("closed","open_for_ms":0,"requests":0,"failed":0,"slow":0}},)"
                        R"("nodes":[{"node":)"
                        R"("10.0.0.1:80","state":"up","weight":7,"priority":-1,)"
                        R"("in_flight":1,"ewma_ms":null,"ejection":null,"breaker":)"));
  EXPECT_THAT(status, HasSubstr(R"("key":"route/b")"));
  EXPECT_EQ(status.find('\n'), std::string::npos) << "one line";
}

TEST_F(HostStatusTest, ShowsLatencyAndEjection) {
  const MonoTime now = MonoNow();
  balancer::Ewma().Observe(record().ewma, milliseconds(40), now);
  const balancer::Outlier outlier({.consecutive_errors = 1, .max_ejection_percentage = 100});
  balancer::OutlierState* const upstream[] = {&record().outlier};
  outlier.Report(record().outlier, upstream, balancer::Outcome::kLocalError, now);
  record().weight = 1;
  const std::string status = Status();
  EXPECT_THAT(status, HasSubstr(R"("state":"ejected")"));
  EXPECT_THAT(status, HasSubstr(R"("reason":"consecutive_errors","back_in_ms":)"));
  EXPECT_THAT(status, Not(HasSubstr(R"("node":"10.0.0.1:80","ewma_ms":null)")));
  EXPECT_THAT(status, HasSubstr("consecutive_errors, back in "));
}

TEST_F(HostStatusTest, ShowsHealthWithItsCause) {
  record().weight = 1;
  EXPECT_THAT(Status(), HasSubstr(R"("health":{"state":"healthy","cause":"success","status":0})"));
  conf::HealthRules rules;
  rules.http_failures = 1;
  ReportHealth(record(), rules, {CheckResult::kHttpFailure, 503});
  const std::string status = Status();
  EXPECT_THAT(status, HasSubstr(R"("state":"unhealthy","weight":1)"));
  EXPECT_THAT(status,
              HasSubstr(R"("health":{"state":"unhealthy","cause":"http_failure","status":503})"));
  EXPECT_THAT(status, HasSubstr("  http_failure 503"));
}

TEST_F(HostStatusTest, ShowsBreakers) {
  using balancer::Breaker;
  using balancer::BreakerPhase;
  EXPECT_THAT(Status(), Not(HasSubstr("  breaker ")));
  Breaker::Force(record().breaker, BreakerPhase::kForcedOpen, MonoNow());
  const Breaker breaker({.consecutive_failures = 1, .open_time = seconds(100)});
  balancer::BreakerState& whole = controller_->record(upstream_id_).breaker;
  const auto pass = breaker.Admit(whole, MonoNow(), 0);
  breaker.Report(whole, pass, balancer::CallOutcome::kBad, milliseconds(1), MonoNow());
  const std::string status = Status();
  EXPECT_THAT(status, HasSubstr(R"("breaker":{"phase":"forced_open","open_for_ms":0)"));
  EXPECT_THAT(status, HasSubstr(R"("breaker":{"phase":"open","open_for_ms":99)"));
  EXPECT_THAT(status, HasSubstr("  breaker forced_open"));
  EXPECT_THAT(status, HasSubstr("  breaker open for "));
}

TEST_F(HostStatusTest, LeavesOutWhatNobodyHolds) {
  worker_->Release(id_);
  EXPECT_THAT(Status(), Not(HasSubstr("10.0.0.1")));
}

TEST_F(HostStatusTest, TakesOrders) {
  record().weight = 1;
  EXPECT_THAT(Order("drain", "a", "10.0.0.1:80"), HasSubstr(R"("state":"drain")"));
  EXPECT_EQ(record().order.load(), NodeOrder::kDrain);
  EXPECT_THAT(Status(), HasSubstr(R"("state":"drain")"));
  EXPECT_THAT(Order("down", "upstream/a", "10.0.0.1:80"), HasSubstr(R"("state":"down")"));
  EXPECT_EQ(record().order.load(), NodeOrder::kDown);
  EXPECT_THAT(Order("up", "upstream/a", "10.0.0.1:80"), HasSubstr(R"("state":"up")"));
  EXPECT_EQ(record().order.load(), NodeOrder::kNone);
}

TEST_F(HostStatusTest, RefusesWhatThereIsNot) {
  EXPECT_EQ(Order("drain", "x", "10.0.0.1:80"),
            "error: there is no upstream \"x\"; there are upstream/a, upstream/b, route/b");
  EXPECT_EQ(Order("drain", "shop", "10.0.0.1:80"),
            "error: \"shop\" can be any of upstream/a, upstream/b");
  EXPECT_EQ(Order("drain", "a", "10.0.0.2:80"),
            "error: upstream/a has no node \"10.0.0.2:80\"; it has 10.0.0.1:80");
  EXPECT_EQ(Order("drain", "upstream/b", "x"), "error: upstream/b has no node \"x\"; it has none");
  EXPECT_EQ(Order("dance", "a", "10.0.0.1:80"),
            "error: expected the order drain, up or down, got \"dance\"");
  EXPECT_THAT(Order("drain", "a", ""), HasSubstr("error: expected \"upstream\" and \"node\""));
  EXPECT_EQ(record().order.load(), NodeOrder::kNone);
}

}  // namespace
}  // namespace sluice
