#include "balancer/least_conn.h"

#include <algorithm>
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

// A host with several workers: Poisson arrivals at any of them, servers that serve kSlots at once
// and queue the rest. Counts how many requests were placed on a server that was full.
//
// Service times are all 1, uniform in [0.5, 1.5), or exponential with mean 1. What workers with
// private counters do depends on how each breaks its ties, as most of its counts are 0 or 1: by
// the rotation, as PickLeastConn does, 42 to 48 % meet a full server; by the order of the list,
// begun at another server by each worker, 33 to 35 %. The latter is the usual way to write it down
// and gives the same for all service times: it is the reference.
class Host {
 public:
  static constexpr size_t kWorkers = 8;
  static constexpr size_t kServers = 16;
  static constexpr uint32_t kSlots = 4;
  static constexpr double kLoad = 0.85;
  static constexpr int kRequests = 200'000;

  enum class Policy { kShared, kPrivate, kPrivateInListOrder };
  enum class Service { kConstant, kUniform, kExponential };

  struct Shares {
    double on_full = 0;
    double avoidable = 0;  // of these: another server had a place
  };

  Host(Policy policy, Service service)
      : policy_(policy),
        service_(service),
        workers_(kWorkers, LeastConn(std::vector<uint32_t>(kServers, 1))) {
    for (size_t i = 0; i < kWorkers; ++i) {
      workers_[i].cursor = workers_[i].rotation.StartCursor(i + 1);
    }
  }

  Shares Run() {
    int on_full = 0;
    int avoidable = 0;
    for (int i = -kRequests / 10; i < kRequests; ++i) {  // the first are not counted
      now_ += Exponential(1 / (kLoad * kServers * kSlots));
      FinishUntil(now_);
      const bool all_full = std::ranges::min(total_) >= kSlots;
      const bool full = Place();
      if (i < 0) continue;
      on_full += full ? 1 : 0;
      avoidable += full && !all_full ? 1 : 0;
    }
    return {static_cast<double>(on_full) / kRequests, static_cast<double>(avoidable) / kRequests};
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
    if (service_ == Service::kConstant) return 1;
    if (service_ == Service::kExponential) return Exponential(1);
    return std::uniform_real_distribution<double>(0.5, 1.5)(random_);
  }

  size_t Pick(size_t at) {
    LeastConn& worker = workers_[at];
    if (policy_ == Policy::kShared) worker.in_flight = total_;
    if (policy_ != Policy::kPrivateInListOrder) return worker.Pick().value();
    size_t best = at * kServers / kWorkers;
    for (size_t i = 1; i < kServers; ++i) {
      const size_t next = (at * kServers / kWorkers + i) % kServers;
      if (worker.in_flight[next] < worker.in_flight[best]) best = next;
    }
    return best;
  }

  bool Place() {
    const size_t at = random_() % kWorkers;
    const size_t server = Pick(at);
    ++workers_[at].in_flight[server];
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
      --workers_[done.worker].in_flight[done.server];
      if (waiting_[done.server].empty()) continue;
      running_.push({done.ends + ServiceTime(), done.server, waiting_[done.server].front()});
      waiting_[done.server].pop();
    }
  }

  Policy policy_;
  Service service_;
  std::mt19937_64 random_{42};
  std::vector<LeastConn> workers_;
  std::vector<uint32_t> total_ = std::vector<uint32_t>(kServers);
  std::vector<std::queue<size_t>> waiting_ = std::vector<std::queue<size_t>>(kServers);
  std::priority_queue<Running, std::vector<Running>, std::greater<>> running_;
  double now_ = 0;
};

// `most` of the requests meet a full server with counts of the whole host.
void ExpectOnFullServer(Host::Service service, const char* name, double most) {
  using enum Host::Policy;
  const Host::Shares shared = Host(kShared, service).Run();
  const double in_turns = Host(kPrivate, service).Run().on_full;
  const double in_list_order = Host(kPrivateInListOrder, service).Run().on_full;
  std::printf(
      "on a full server, %s service: %.1f %% (private counters: %.1f %%, in turns %.1f %%)\n", name,
      shared.on_full * 100, in_list_order * 100, in_turns * 100);
  EXPECT_LE(shared.on_full, most);
  EXPECT_EQ(shared.avoidable, 0) << "only when all servers are full";
  EXPECT_NEAR(in_list_order, 0.34, 0.02) << "the reference";
  EXPECT_GT(in_turns, in_list_order);
}

TEST(LeastConnTest, HostWideCountsKeepRequestsOffFullServers) {
  ExpectOnFullServer(Host::Service::kConstant, "constant", 0.08);
  ExpectOnFullServer(Host::Service::kUniform, "uniform", 0.08);
}

// Service times that vary more fill all servers at once more often: 8.5 % in long runs. That is so
// for every least_conn: with exponential times how many requests each server has decides what may
// follow, and servers with equally many may be exchanged, so that ties do not matter either.
TEST(LeastConnTest, HostWideCountsWithExponentialService) {
  ExpectOnFullServer(Host::Service::kExponential, "exponential", 0.09);
}

}  // namespace
}  // namespace sluice::balancer
