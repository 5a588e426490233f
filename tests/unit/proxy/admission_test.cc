#include "gateway/proxy/admission.h"

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/net/run_until.h"

namespace sluice {
namespace {

using Counter = Admission::Counter;
using Scope = conf::CircuitBreakerConfig::Scope;

conf::UpstreamConfig ConfigOf(conf::UpstreamLimits limits) {
  conf::UpstreamConfig config;
  config.key = "upstream/1";
  config.limits = limits;
  return config;
}

// A call that waits for the place of a request.
struct Call final : PlaceWaiter {
  explicit Call(Admission& admission_in) : admission(admission_in) {}
  ~Call() { Done(); }

  bool OnPlaceFree() override {
    ++asked;
    if (declines || !admission.TryTake(Counter::kActive, true)) return false;
    has_place = true;
    admission.Leave(*this);
    return true;
  }
  void Done() {
    admission.Leave(*this);
    if (std::exchange(has_place, false)) admission.Free(Counter::kActive);
  }

  Admission& admission;
  bool declines = false;
  bool has_place = false;
  int asked = 0;
};

class AdmissionTest : public testing::Test {
 protected:
  static constexpr uint32_t kProcesses = 3;  // two workers and the controller

  AdmissionTest()
      : loop_(std::move(Loop::Make().value())), table_(EndpointTable::Make(kProcesses).value()) {
    for (uint32_t worker = 0; worker < 2; ++worker) {
      auto own = EndpointTable::Map(table_->memory(), kProcesses, worker).value();
      workers_.push_back(std::make_unique<Admission>(*loop_, own, "upstream/1", worker + 1));
    }
  }

  void Limit(conf::UpstreamLimits limits) {
    for (const auto& worker : workers_) worker->Update(ConfigOf(limits));
  }
  uint32_t Count(Counter counter) { return workers_[0]->shared().count(counter); }

  std::unique_ptr<Loop> loop_;
  std::shared_ptr<EndpointTable> table_;
  std::vector<std::unique_ptr<Admission>> workers_;
};

TEST_F(AdmissionTest, PlacesAreOfTheWholeHost) {
  Limit({.connections = 1, .requests = 3});
  EXPECT_TRUE(workers_[0]->TryTake(Counter::kActive, false));
  EXPECT_TRUE(workers_[1]->TryTake(Counter::kActive, false));
  EXPECT_TRUE(workers_[0]->TryTake(Counter::kActive, false));
  EXPECT_FALSE(workers_[1]->TryTake(Counter::kActive, false));
  EXPECT_TRUE(workers_[1]->TryTake(Counter::kConnections, false)) << "another limit";
  EXPECT_FALSE(workers_[0]->TryTake(Counter::kConnections, false));
  workers_[0]->Free(Counter::kActive);
  EXPECT_TRUE(workers_[1]->TryTake(Counter::kActive, false));
}

TEST_F(AdmissionTest, NobodyOvertakesWhoWaits) {
  Limit({.requests = 1, .pending = 5});
  Call waiting(*workers_[0]);
  waiting.declines = true;
  ASSERT_TRUE(workers_[0]->Enqueue(waiting));
  EXPECT_TRUE(workers_[0]->has_waiters());
  for (const auto& worker : workers_) EXPECT_FALSE(worker->TryTake(Counter::kActive, false));
  EXPECT_TRUE(workers_[1]->TryTake(Counter::kActive, true)) << "the first of its own queue";
  workers_[1]->Free(Counter::kActive);
  workers_[0]->Leave(waiting);
  EXPECT_TRUE(workers_[1]->TryTake(Counter::kActive, false));
}

TEST_F(AdmissionTest, OnlySoManyWaitOnTheHost) {
  Limit({.requests = 1, .pending = 2});
  Call a(*workers_[0]), b(*workers_[1]), c(*workers_[0]);
  EXPECT_TRUE(workers_[0]->Enqueue(a));
  EXPECT_TRUE(workers_[1]->Enqueue(b));
  EXPECT_FALSE(workers_[0]->Enqueue(c));
  EXPECT_FALSE(c.is_linked());
  workers_[0]->Leave(c);  // it does not wait: nothing
  EXPECT_EQ(Count(Counter::kPending), 2U);
  workers_[0]->Leave(a);
  workers_[0]->Leave(a);
  EXPECT_EQ(Count(Counter::kPending), 1U);
  EXPECT_TRUE(workers_[0]->Enqueue(c));
}

TEST_F(AdmissionTest, AFreedPlaceGoesToTheFirst) {
  Limit({.requests = 1, .pending = 10});
  ASSERT_TRUE(workers_[0]->TryTake(Counter::kActive, false));
  Call first(*workers_[0]), second(*workers_[0]);
  ASSERT_TRUE(workers_[0]->Enqueue(first));
  ASSERT_TRUE(workers_[0]->Enqueue(second));
  workers_[0]->Free(Counter::kActive);
  EXPECT_EQ(first.asked, 0) << "not in the middle of the caller's work";
  ASSERT_TRUE(RunUntil(*loop_, [&] { return first.has_place; }));
  EXPECT_FALSE(second.has_place);
  first.Done();
  ASSERT_TRUE(RunUntil(*loop_, [&] { return second.has_place; }));
  EXPECT_EQ(Count(Counter::kPending), 0U);
}

TEST_F(AdmissionTest, AnotherWorkersPlaceIsFound) {
  Limit({.requests = 1, .pending = 10});
  ASSERT_TRUE(workers_[1]->TryTake(Counter::kActive, false));
  Call call(*workers_[0]);
  ASSERT_TRUE(workers_[0]->Enqueue(call));
  ASSERT_TRUE(RunUntil(*loop_, [&] { return call.asked > 2; })) << "it is looked for";
  EXPECT_FALSE(call.has_place);
  workers_[1]->Free(Counter::kActive);
  EXPECT_TRUE(RunUntil(*loop_, [&] { return call.has_place; }));
}

TEST_F(AdmissionTest, AReloadThatRaisesTheLimitWakes) {
  Limit({.requests = 1, .pending = 10});
  ASSERT_TRUE(workers_[0]->TryTake(Counter::kActive, false));
  Call one(*workers_[0]), two(*workers_[0]);
  ASSERT_TRUE(workers_[0]->Enqueue(one));
  ASSERT_TRUE(workers_[0]->Enqueue(two));
  Limit({.requests = 3, .pending = 10});
  EXPECT_TRUE(RunUntil(*loop_, [&] { return one.has_place && two.has_place; }));
  workers_[0]->Free(Counter::kActive);
}

TEST_F(AdmissionTest, ItsLastWaiterMayTakeItAlong) {
  struct Owner final : PlaceWaiter {
    bool OnPlaceFree() override {
      admission->Leave(*this);
      admission.reset();
      return true;
    }
    std::unique_ptr<Admission> admission;
  };
  Owner owner;
  owner.admission = std::make_unique<Admission>(*loop_, nullptr, "upstream/1", 1);
  owner.admission->Update(ConfigOf({.requests = 1, .pending = 10}));
  ASSERT_TRUE(owner.admission->Enqueue(owner));
  EXPECT_TRUE(RunUntil(*loop_, [&] { return owner.admission == nullptr; }));
}

TEST_F(AdmissionTest, EachWorkerKeepsItsShareIdle) {
  EXPECT_EQ(workers_[0]->most_idle(), UINT32_MAX);
  Limit({.connections = 5});
  EXPECT_EQ(workers_[0]->most_idle(), 2U) << "of two workers";
  Admission alone(*loop_, nullptr, "upstream/1", 1);
  alone.Update(ConfigOf({.connections = 5}));
  EXPECT_EQ(alone.most_idle(), 5U);
}

TEST_F(AdmissionTest, RequestsSaveForRetries) {
  Admission& admission = *workers_[0];
  EXPECT_FALSE(admission.SpendSavedRetry());
  for (int i = 0; i < 4; ++i) admission.SaveRetry(20);
  EXPECT_FALSE(admission.SpendSavedRetry());
  admission.SaveRetry(20);
  EXPECT_TRUE(admission.SpendSavedRetry());
  EXPECT_FALSE(admission.SpendSavedRetry()) << "once";
  for (int i = 0; i < 10'000; ++i) admission.SaveRetry(100);
  int spent = 0;
  while (admission.SpendSavedRetry()) ++spent;
  EXPECT_EQ(spent, 100) << "at most so many are saved";
}

TEST_F(AdmissionTest, BreakersAreWhereTheScopeSays) {
  Admission& admission = *workers_[0];
  conf::UpstreamConfig config = ConfigOf({});
  const auto update = [&](std::optional<Scope> scope) {
    config.circuit_breaker.reset();
    if (scope) config.circuit_breaker.emplace().scope = *scope;
    admission.Update(config);
    return std::pair(admission.upstream_breaker() != nullptr,
                     admission.endpoint_breaker() != nullptr);
  };
  EXPECT_EQ(update({}), std::pair(false, false));
  EXPECT_EQ(update(Scope::kUpstream), std::pair(true, false));
  EXPECT_EQ(update(Scope::kEndpoint), std::pair(false, true));
  EXPECT_EQ(update(Scope::kBoth), std::pair(true, true));
  EXPECT_FALSE(admission.counts_429());
  const balancer::Breaker* const breaker = admission.upstream_breaker();
  EXPECT_EQ(breaker, admission.endpoint_breaker());
  config.circuit_breaker->count_429 = true;
  admission.Update(config);
  EXPECT_TRUE(admission.counts_429());
  EXPECT_EQ(admission.upstream_breaker(), breaker) << "calls under way refer to it";
}

// Two workers, calls in any order: what is counted is what is held, and never above the limits.
TEST_F(AdmissionTest, WhatIsHeldIsCounted) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const uint32_t requests = 1 + random() % 4;
    const uint32_t pending = random() % 4;
    Limit({.requests = requests, .pending = pending});
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < 8; ++i) calls.push_back(std::make_unique<Call>(*workers_[i % 2]));
    for (int step = 0; step < 200; ++step) {
      Call& call = *calls[random() % calls.size()];
      switch (random() % 4) {
        case 0:
          if (call.has_place || call.is_linked()) break;
          call.has_place = call.admission.TryTake(Counter::kActive, false);
          if (!call.has_place) call.admission.Enqueue(call);
          break;
        case 1:
          if (call.is_linked()) call.OnPlaceFree();
          break;
        default:
          call.Done();
      }
      uint32_t held = 0, waiting = 0;
      for (const auto& each : calls) {
        held += each->has_place ? 1 : 0;
        waiting += each->is_linked() ? 1 : 0;
        ASSERT_FALSE(each->has_place && each->is_linked());
      }
      ASSERT_EQ(Count(Counter::kActive), held);
      ASSERT_EQ(Count(Counter::kPending), waiting);
      ASSERT_LE(held, requests);
      ASSERT_LE(waiting, pending);
    }
    calls.clear();
    ASSERT_EQ(Count(Counter::kActive), 0U);
    ASSERT_EQ(Count(Counter::kPending), 0U);
  }
}

}  // namespace
}  // namespace sluice
