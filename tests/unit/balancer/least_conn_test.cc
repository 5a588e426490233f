#include "balancer/least_conn.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <queue>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/balancer/endpoint_set.h"

namespace sluice::balancer {
namespace {

struct LeastConn : EndpointSet {
  explicit LeastConn(const std::vector<uint32_t>& weights, bool with_rotation = true)
      : EndpointSet(weights) {
    if (with_rotation) rotation = Rotation::Build(weights);
  }

  std::optional<size_t> Pick() {
    return PickLeastConn(endpoints, in_flight, {rotation, states, cursor});
  }

  Rotation rotation;
  uint64_t cursor = 0;
};

TEST(LeastConnTest, PicksTheLowestForItsWeight) {
  LeastConn set({1, 2, 10});
  set.in_flight = {1, 1, 6};
  EXPECT_EQ(set.Pick(), 1U);
  set.in_flight = {3, 6, 29};
  EXPECT_EQ(set.Pick(), 2U);
  set.in_flight = {0, 1, 1};
  EXPECT_EQ(set.Pick(), 0U);
}

TEST(LeastConnTest, PicksNothingFromNothing) {
  EXPECT_EQ(LeastConn({}).Pick(), std::nullopt);
  EXPECT_EQ(LeastConn({0, 0, 0, 0, 0}).Pick(), std::nullopt);
  LeastConn down({1, 1});
  for (EndpointView& endpoint : down.endpoints) endpoint.eligible = false;
  EXPECT_EQ(down.Pick(), std::nullopt);
}

TEST(LeastConnTest, NeverPicksWeightZeroOrIneligible) {
  for (size_t count = 2; count < 14; ++count) {
    for (size_t only = 0; only < count; ++only) {
      LeastConn set(std::vector<uint32_t>(count, 1));
      for (size_t i = 0; i < count; ++i) {
        set.endpoints[i] = {i % 2 == 0 ? 0U : 3U, i % 2 == 0};
      }
      EXPECT_EQ(set.Pick(), std::nullopt);
      set.endpoints[only] = {1, true};
      set.in_flight[only] = 1'000'000;
      EXPECT_EQ(set.Pick(), only);
    }
  }
}

TEST(LeastConnTest, TiesTakeTurnsByWeight) {
  for (const bool with_rotation : {true, false}) {
    LeastConn set({5, 1, 1, 3, 7}, with_rotation);
    EXPECT_THAT(CountPicks(set, 1700), testing::ElementsAre(500, 100, 100, 300, 700));
    // The same fraction everywhere but at the last, which is busier.
    set.in_flight = {10, 2, 2, 6, 15};
    const std::vector<int64_t> counts = CountPicks(set, 1000);
    EXPECT_NEAR(static_cast<double>(counts[0]), 500, 3);
    EXPECT_NEAR(static_cast<double>(counts[1]), 100, 3);
    EXPECT_NEAR(static_cast<double>(counts[3]), 300, 3);
    EXPECT_EQ(counts[4], 0);
  }
}

TEST(LeastConnTest, FewTiedAmongManyTakeTurns) {
  LeastConn set(std::vector<uint32_t>(101, 1));
  for (uint32_t& count : set.in_flight) count = 5;
  set.in_flight[17] = set.in_flight[60] = set.in_flight[100] = 4;
  const std::vector<int64_t> counts = CountPicks(set, 3000);
  for (const size_t i : {17, 60, 100}) EXPECT_NEAR(static_cast<double>(counts[i]), 1000, 110);
  EXPECT_EQ(counts[17] + counts[60] + counts[100], 3000);
}

TEST(LeastConnTest, AgreesWithExactFractions) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    std::vector<uint32_t> weights(1 + random() % 40);
    for (uint32_t& weight : weights) weight = random() % (1 + random() % 1024);
    LeastConn set(weights, round % 2 == 0);
    for (uint32_t& count : set.in_flight) count = random() % (1 + random() % 1024);
    for (EndpointView& endpoint : set.endpoints) endpoint.eligible = random() % 4 != 0;
    const auto picked = set.Pick();
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!MayPick(set.endpoints[i])) continue;
      ASSERT_TRUE(picked.has_value());
      ASSERT_TRUE(MayPick(set.endpoints[*picked]));
      ASSERT_LE(uint64_t{set.in_flight[*picked]} * weights[i],
                uint64_t{set.in_flight[i]} * weights[*picked]);
    }
  }
}

TEST(LeastConnTest, LargestNumbersDoNotOverflow) {
  constexpr uint32_t kHuge = std::numeric_limits<uint32_t>::max();
  LeastConn set({kHuge, kHuge, 1, kHuge, kHuge});
  set.in_flight = {kHuge, kHuge, 1, 1U << 30, kHuge};
  EXPECT_EQ(set.Pick(), 3U) << "0.5 against 1";
  set.in_flight = {kHuge, kHuge, 0, kHuge, kHuge};
  EXPECT_EQ(set.Pick(), 2U);
  LeastConn idle({kHuge, 1, kHuge, kHuge, kHuge});
  for (int i = 0; i < 1000; ++i) EXPECT_NE(idle.Pick(), std::nullopt);
}

TEST(LeastConnTest, LoweredWeightDoesNotStarve) {
  LeastConn set({1U << 30, 1U << 30}, false);
  for (int i = 0; i < 3; ++i) set.Pick();
  set.endpoints = {{1, true}, {1, true}};
  const std::vector<int64_t> counts = CountPicks(set, 40);
  EXPECT_LE(std::abs(counts[0] - counts[1]), 8);
}

// A host with several workers: Poisson arrivals, servers that serve kSlots at once and queue the
// rest. Counts how many requests were placed on a server that was full.
class Host {
 public:
  static constexpr size_t kWorkers = 8;
  static constexpr size_t kServers = 16;
  static constexpr uint32_t kSlots = 4;
  static constexpr double kLoad = 0.85;

  enum class Counters { kShared, kPrivate };
  enum class Service { kUniform, kExponential };  // mean 1; uniform in [0.5, 1.5)

  Host(Counters counters, Service service)
      : service_(service), workers_(kWorkers, LeastConn(std::vector<uint32_t>(kServers, 1))) {
    shared_ = counters == Counters::kShared;
    for (size_t i = 0; i < kWorkers; ++i) {
      workers_[i].cursor = workers_[i].rotation.StartCursor(i + 1);
    }
  }

  double ShareOnFull(int requests) {
    const double warm_up = requests / 10.0;
    int on_full = 0;
    int counted = 0;
    for (int i = 0; i < requests; ++i) {
      now_ += Exponential(1 / (kLoad * kServers * kSlots));
      FinishUntil(now_);
      const bool full = Place();
      if (i < warm_up) continue;
      ++counted;
      on_full += full ? 1 : 0;
    }
    return static_cast<double>(on_full) / counted;
  }

 private:
  struct Running {
    double ends;
    size_t server;
    size_t worker;
    bool operator>(const Running& other) const { return ends > other.ends; }
  };

  double Exponential(double mean) {
    return -mean * std::log(1 - std::uniform_real_distribution<double>(0, 1)(random_));
  }

  double ServiceTime() {
    if (service_ == Service::kExponential) return Exponential(1);
    return std::uniform_real_distribution<double>(0.5, 1.5)(random_);
  }

  bool Place() {
    const size_t at = random_() % kWorkers;
    LeastConn& worker = workers_[at];
    if (shared_) worker.in_flight = total_;
    const size_t server = worker.Pick().value();
    if (!shared_) ++worker.in_flight[server];
    const bool full = total_[server]++ >= kSlots;
    if (full) {
      waiting_[server].push(at);
    } else {
      running_.push({now_ + ServiceTime(), server, at});
    }
    return full;
  }

  void FinishUntil(double time) {
    while (!running_.empty() && running_.top().ends <= time) {
      const Running done = running_.top();
      running_.pop();
      --total_[done.server];
      if (!shared_) --workers_[done.worker].in_flight[done.server];
      if (waiting_[done.server].empty()) continue;
      running_.push({done.ends + ServiceTime(), done.server, waiting_[done.server].front()});
      waiting_[done.server].pop();
    }
  }

  Service service_;
  bool shared_ = false;
  std::mt19937_64 random_{42};
  std::vector<LeastConn> workers_;
  std::vector<uint32_t> total_ = std::vector<uint32_t>(kServers);
  std::vector<std::queue<size_t>> waiting_ = std::vector<std::queue<size_t>>(kServers);
  std::priority_queue<Running, std::vector<Running>, std::greater<>> running_;
  double now_ = 0;
};

void PrintShares(const char* service, double shared, double by_worker) {
  std::printf("on a full server, %s service: %.1f %% (private counters: %.1f %%)\n", service,
              shared * 100, by_worker * 100);
}

TEST(LeastConnTest, HostWideCountsKeepRequestsOffFullServers) {
  using enum Host::Counters;
  const double shared = Host(kShared, Host::Service::kUniform).ShareOnFull(200'000);
  const double by_worker = Host(kPrivate, Host::Service::kUniform).ShareOnFull(200'000);
  PrintShares("uniform", shared, by_worker);
  EXPECT_LE(shared, 0.08);
  EXPECT_GE(by_worker, 0.33) << "what private counters cost is what this is measured against";
}

// Service times that vary more fill all servers at once more often, whatever the choice: a request
// meets a full server only when all are full, and of policies that know the counts, joining the
// shortest queue is the best for exponential times (Winston 1977).
TEST(LeastConnTest, HostWideCountsWithExponentialService) {
  using enum Host::Counters;
  const double shared = Host(kShared, Host::Service::kExponential).ShareOnFull(200'000);
  const double by_worker = Host(kPrivate, Host::Service::kExponential).ShareOnFull(200'000);
  PrintShares("exponential", shared, by_worker);
  EXPECT_LE(shared, 0.09);
  EXPECT_GE(by_worker, 0.33);
}

}  // namespace
}  // namespace sluice::balancer
