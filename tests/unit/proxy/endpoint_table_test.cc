#include "gateway/proxy/endpoint_table.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice {
namespace {

using Counter = EndpointTable::Counter;

class EndpointTableTest : public testing::Test {
 protected:
  static constexpr uint32_t kProcesses = 4;

  std::shared_ptr<EndpointTable> Column(uint32_t column) {
    auto mapped = EndpointTable::Map(master_->memory(), kProcesses, column);
    EXPECT_TRUE(mapped.has_value());
    return *mapped;
  }

  std::shared_ptr<EndpointTable> master_ = *EndpointTable::Make(kProcesses);
  std::shared_ptr<EndpointTable> first_ = Column(0);
  std::shared_ptr<EndpointTable> second_ = Column(1);
};

TEST_F(EndpointTableTest, AllProcessesSeeOneRecord) {
  const auto id = first_->Acquire("upstream", "10.0.0.1:80");
  ASSERT_TRUE(id);
  EXPECT_EQ(second_->Acquire("upstream", "10.0.0.1:80"), id);
  EXPECT_EQ(master_->Find("upstream", "10.0.0.1:80"), id);
  EXPECT_EQ(second_->record(*id).name(), "10.0.0.1:80");
  EXPECT_EQ(second_->record(*id).upstream_key, EndpointTable::KeyOf("upstream"));
  first_->record(*id).order = NodeOrder::kDrain;
  EXPECT_EQ(second_->record(*id).order.load(), NodeOrder::kDrain);
}

TEST_F(EndpointTableTest, IdentityIsUpstreamAndEndpoint) {
  const auto id = first_->Acquire("a", "10.0.0.1:80");
  EXPECT_NE(first_->Acquire("b", "10.0.0.1:80"), id);
  EXPECT_NE(first_->Acquire("a", "10.0.0.1:81"), id);
  EXPECT_NE(first_->Acquire("a"), id);
  EXPECT_EQ(first_->Find("a", "10.0.0.2:80"), std::nullopt);
}

TEST_F(EndpointTableTest, CountsAreOfTheHost) {
  const uint32_t id = *first_->Acquire("a", "x");
  second_->Acquire("a", "x");
  first_->Add(Counter::kActive, id);
  second_->Add(Counter::kActive, id);
  second_->Add(Counter::kActive, id);
  second_->Add(Counter::kRetries, id);
  EXPECT_EQ(first_->count(Counter::kActive, id), 3u);
  second_->Remove(Counter::kActive, id);
  EXPECT_EQ(first_->count(Counter::kActive, id), 2u);
  EXPECT_EQ(first_->count(Counter::kRetries, id), 1u);
  EXPECT_EQ(first_->count(Counter::kHolders, id), 2u);
}

TEST_F(EndpointTableTest, ADeadProcessIsSubtractedAndItsRecordStays) {
  const uint32_t id = *first_->Acquire("a", "x");
  second_->Acquire("a", "x");
  first_->Add(Counter::kActive, id);
  second_->Add(Counter::kActive, id);
  second_->Add(Counter::kActive, id);
  first_->record(id).checks = 7;
  master_->ClearColumn(1);
  EXPECT_EQ(first_->count(Counter::kActive, id), 1u);
  EXPECT_EQ(first_->count(Counter::kHolders, id), 1u);
  master_->ClearColumn(0);
  EXPECT_EQ(first_->count(Counter::kHolders, id), 0u);
  EXPECT_EQ(Column(0)->Acquire("a", "x"), id);  // its successor
  EXPECT_EQ(first_->record(id).checks.load(), 7u);
}

TEST_F(EndpointTableTest, LongNamesAreCutAndApart) {
  const std::string path(200, 'p');
  const uint32_t id = *first_->Acquire("a", "unix:" + path + "1");
  EXPECT_NE(first_->Acquire("a", "unix:" + path + "2"), id);
  EXPECT_EQ(first_->record(id).name().size(), SharedRecord::kLongestName);
}

TEST_F(EndpointTableTest, AFullTableGivesUpWhatNobodyHolds) {
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < EndpointTable::kCapacity; ++i) {
    const auto id = first_->Acquire("a", std::to_string(i));
    ASSERT_TRUE(id) << i;
    ids.push_back(*id);
  }
  EXPECT_EQ(first_->Acquire("b", "new"), std::nullopt);
  first_->record(ids[77]).checks = 5;
  first_->Release(ids[77]);
  const auto again = second_->Acquire("b", "new");
  ASSERT_EQ(again, ids[77]);
  EXPECT_EQ(second_->record(*again).checks.load(), 0u);
  EXPECT_EQ(second_->record(*again).name(), "new");
  EXPECT_EQ(first_->Find("a", "77"), std::nullopt);
  EXPECT_EQ(first_->Find("a", "78"), ids[78]);
}

TEST_F(EndpointTableTest, ProcessesThatAcquireTogetherAgree) {
  constexpr int kEndpoints = 500;
  std::vector<std::vector<uint32_t>> got(kProcesses);
  std::vector<std::thread> threads;
  for (uint32_t process = 0; process < kProcesses; ++process) {
    threads.emplace_back([&, process] {
      const auto own = Column(process);
      for (int i = 0; i < kEndpoints; ++i) {
        got[process].push_back(*own->Acquire("a", std::to_string(i)));
        own->Add(Counter::kActive, got[process].back());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t process = 1; process < kProcesses; ++process) EXPECT_EQ(got[process], got[0]);
  for (const uint32_t id : got[0]) EXPECT_EQ(first_->count(Counter::kActive, id), kProcesses);
}

// The lock is not lost with a process that is killed at any moment.
TEST_F(EndpointTableTest, SurvivesProcessesThatAreKilledWhileTheyAcquire) {
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      const auto own = EndpointTable::Map(master_->memory(), kProcesses, 2);
      for (int i = 0;; ++i) {
        const auto id = (*own)->Acquire("killed", std::to_string(i % 40'000));
        if (id) (*own)->Release(*id);
      }
    }
    ASSERT_GT(child, 0);
    while (master_->Find("killed", std::to_string(round * 50)) == std::nullopt) {
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    master_->ClearColumn(2);
    const auto id = first_->Acquire("after", std::to_string(round));
    ASSERT_TRUE(id);
    EXPECT_EQ(second_->Find("after", std::to_string(round)), id);
  }
}

TEST_F(EndpointTableTest, RefusesMemoryOfAnotherSize) {
  EXPECT_FALSE(EndpointTable::Map(master_->memory(), kProcesses + 1, 0).has_value());
}

TEST_F(EndpointTableTest, ALimitIsExactHoweverManyAsk) {
  constexpr uint32_t kLimit = 7;
  const uint32_t id = *first_->Acquire("a", "x");
  std::atomic<uint32_t> most = 0;
  std::atomic<uint32_t> taken = 0;
  const auto ask = [&](EndpointTable& table) {
    for (int i = 0; i < 20'000; ++i) {
      if (!table.TryAdd(Counter::kActive, id, kLimit)) continue;
      const uint32_t now = ++taken;
      uint32_t before = most;
      while (now > before && !most.compare_exchange_weak(before, now)) {
      }
      if (i % 3 == 0) std::this_thread::yield();
      --taken;
      table.Remove(Counter::kActive, id);
    }
  };
  // A column is one process's: one thread for each.
  std::thread other([&] { ask(*second_); });
  ask(*first_);
  other.join();
  EXPECT_LE(most, kLimit);
  EXPECT_GE(most, 1u);
  EXPECT_EQ(first_->count(Counter::kActive, id), 0u);
  for (uint32_t i = 0; i < kLimit; ++i) {
    EXPECT_TRUE((i % 2 == 0 ? first_ : second_)->TryAdd(Counter::kActive, id, kLimit));
  }
  EXPECT_FALSE(first_->TryAdd(Counter::kActive, id, kLimit));
  master_->ClearColumn(1);
  EXPECT_TRUE(first_->TryAdd(Counter::kActive, id, kLimit));
}

TEST(HeldRecordTest, ItsOwnCountsHaveLimitsToo) {
  HeldRecord own;
  EXPECT_TRUE(own.TryAdd(Counter::kPending, 1));
  EXPECT_FALSE(own.TryAdd(Counter::kPending, 1));
  own.Remove(Counter::kPending);
  EXPECT_TRUE(own.TryAdd(Counter::kPending, 1));
}

}  // namespace
}  // namespace sluice
