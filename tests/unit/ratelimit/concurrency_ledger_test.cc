#include "ratelimit/concurrency_ledger.h"

#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include "tests/unit/ratelimit/shared_memory.h"

namespace sluice::ratelimit {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr TimePoint kNow(std::chrono::hours(50));
constexpr KeyHash kKey{1, 2};

struct Host {
  uint32_t UnderWay() const {
    return ConcurrencyLimit::UnderWay(table.Find(kKey, true).value_or(0));
  }

  SharedMemory table_memory{KeyTable::SizeFor(100)};
  SharedMemory ledger_memory{ConcurrencyLedger::SizeFor(10)};
  KeyTable table{table_memory.bytes()};
};

TEST(ConcurrencyLedgerTest, RequestsEnterAndLeave) {
  Host host;
  ConcurrencyLedger ledger(host.ledger_memory.bytes());
  const ConcurrencyLimit limit({.places = 2});
  for (int round = 0; round < 100; ++round) {
    const auto first = ledger.Enter(host.table, kKey, limit, kNow).value();
    const auto second = ledger.Enter(host.table, kKey, limit, kNow).value();
    EXPECT_TRUE(first.decision.allowed && second.decision.allowed);
    EXPECT_FALSE(ledger.Enter(host.table, kKey, limit, kNow).value().decision.allowed);
    ledger.Leave(host.table, second.ticket, limit, 1ms);
    EXPECT_EQ(host.UnderWay(), 1U);
    ledger.Leave(host.table, first.ticket, limit, 1ms);
  }
  EXPECT_EQ(host.UnderWay(), 0U);
}

TEST(ConcurrencyLedgerTest, WhenItIsFullThereIsNoRoom) {
  Host host;
  ConcurrencyLedger ledger(host.ledger_memory.bytes());
  const ConcurrencyLimit limit({.places = 100});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(ledger.Enter(host.table, kKey, limit, kNow));
  EXPECT_FALSE(ledger.Enter(host.table, kKey, limit, kNow));
  EXPECT_EQ(host.UnderWay(), 10U);
  ledger.Leave(host.table, 3, limit, 1ms);
  EXPECT_TRUE(ledger.Enter(host.table, kKey, limit, kNow));
}

TEST(ConcurrencyLedgerTest, ClearTakesOutWhatADeadProcessLeft) {
  Host host;
  const ConcurrencyLimit limit({.places = 100});
  const SharedMemory own_memory(ConcurrencyLedger::SizeFor(10));
  ConcurrencyLedger own(own_memory.bytes());
  ASSERT_TRUE(own.Enter(host.table, kKey, limit, kNow));
  Await(Fork(1, [&](int) {
    ConcurrencyLedger ledger(host.ledger_memory.bytes());
    for (int i = 0; i < 5; ++i) ledger.Enter(host.table, kKey, limit, kNow);
    ledger.Leave(host.table, 2, limit, 1ms);
  }));
  EXPECT_EQ(host.UnderWay(), 5U);
  ConcurrencyLedger::Clear(host.ledger_memory.bytes(), host.table);
  EXPECT_EQ(host.UnderWay(), 1U);
  ConcurrencyLedger::Clear(host.ledger_memory.bytes(), host.table);
  EXPECT_EQ(host.UnderWay(), 1U);
}

TEST(ConcurrencyLedgerTest, AProcessKilledAtAnyMomentLeavesNobodyBehind) {
  Host host;
  const ConcurrencyLimit limit({.places = 8});
  const SharedMemory progress(sizeof(std::atomic<uint64_t>));
  auto& entered = progress.as<std::atomic<uint64_t>>();
  for (int round = 0; round < 200; ++round) {
    const uint64_t before = entered;
    const auto children = Fork(1, [&](int) {
      ConcurrencyLedger ledger(host.ledger_memory.bytes());
      for (;;) {
        const auto pass = ledger.Enter(host.table, kKey, limit, kNow);
        ++entered;
        ledger.Leave(host.table, pass.value().ticket, limit, 1ms);
      }
    });
    while (entered < before + 100 + static_cast<uint64_t>(round)) std::this_thread::yield();
    kill(children[0], SIGKILL);
    waitpid(children[0], nullptr, 0);
    ConcurrencyLedger::Clear(host.ledger_memory.bytes(), host.table);
    ASSERT_EQ(host.UnderWay(), 0U);
  }
}

TEST(ConcurrencyLedgerTest, ProcessesNeverHaveMoreThanThePlacesUnderWay) {
  Host host;
  const ConcurrencyLimit limit({.places = 3});
  const SharedMemory counts(sizeof(std::atomic<int>[2]));
  auto& counters = counts.as<std::atomic<int>[2]>();
  Await(Fork(4, [&](int) {
    const SharedMemory memory(ConcurrencyLedger::SizeFor(10));
    ConcurrencyLedger ledger(memory.bytes());
    for (int i = 0; i < 20'000; ++i) {
      const auto pass = ledger.Enter(host.table, kKey, limit, kNow).value();
      if (!pass.decision.allowed) continue;
      const int under_way = ++counters[0];
      int most = counters[1];
      while (most < under_way && !counters[1].compare_exchange_weak(most, under_way)) {
      }
      if (i % 16 == 0) std::this_thread::yield();
      --counters[0];
      ledger.Leave(host.table, pass.ticket, limit, 1ms);
    }
  }));
  EXPECT_LE(counters[1], 3);
  EXPECT_GT(counters[1], 0);
  EXPECT_EQ(host.UnderWay(), 0U);
}

}  // namespace
}  // namespace sluice::ratelimit
