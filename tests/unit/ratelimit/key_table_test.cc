#include "ratelimit/key_table.h"

#include <csignal>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "gateway/base/keyed_hash.h"
#include "ratelimit/fixed_window.h"
#include "ratelimit/gcra.h"
#include "ratelimit/sliding_window.h"
#include "tests/unit/ratelimit/shared_memory.h"

namespace sluice::ratelimit {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr TimePoint kStart(std::chrono::hours(50));
KeyHash KeyOf(uint64_t number) {
  static const KeyedHash hash({0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef});
  const Hash128 key = hash.Of(std::to_string(number));
  return {key.low, key.high};
}

struct Table {
  explicit Table(uint64_t keys) : memory(KeyTable::SizeFor(keys)), table(memory.bytes()) {}
  KeyTable* operator->() { return &table; }
  KeyTable::Use ReadUse(TimePoint now) {
    const std::span<std::byte> bytes = memory.bytes();
    const auto read = [&](std::span<std::byte> into, size_t offset) {
      std::memcpy(into.data(), bytes.subspan(offset, into.size()).data(), into.size());
      return true;
    };
    return *KeyTable::ReadUse(bytes.size(), read, now);
  }
  uint64_t CountInUse(TimePoint now) { return ReadUse(now).keys; }

  SharedMemory memory;
  KeyTable table;
};

// Of that many requests of a key; a request for which there is no room ends the test.
template <typename L>
int Allowed(KeyTable& table, const KeyHash& key, const L& limit, int requests,
            TimePoint now = kStart) {
  int allowed = 0;
  for (int i = 0; i < requests; ++i) {
    allowed += table.Decide(key, limit, 1, now).value().allowed ? 1 : 0;
  }
  return allowed;
}

TEST(KeyTableTest, KeysCountForThemselves) {
  Table table(100);
  const FixedWindow limit(3, 10s);
  EXPECT_EQ(Allowed(table.table, KeyOf(1), limit, 10), 3);
  EXPECT_EQ(Allowed(table.table, KeyOf(2), limit, 10), 3);
  EXPECT_EQ(Allowed(table.table, KeyOf(1), limit, 10, kStart + 10s), 3);
  EXPECT_EQ(table.CountInUse(kStart), 2U);
}

TEST(KeyTableTest, ZeroIsAHashAsAnyOther) {
  Table table(100);
  const FixedWindow limit(3, 10s);
  EXPECT_EQ(Allowed(table.table, {0, 0}, limit, 10), 3);
  EXPECT_EQ(Allowed(table.table, {0, 0}, ConcurrencyLimit({.places = 2}), 10), 2);
}

TEST(KeyTableTest, AMillionKeysStandInTheirMemory) {
  constexpr uint64_t kKeys = 1'000'000;
  EXPECT_LE(KeyTable::SizeFor(kKeys), kKeys * 64);
  Table table(kKeys);
  const FixedWindow limit(1, 1h);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t i = 0; i < kKeys; ++i) {
      const Decision decision = table->Decide(KeyOf(i), limit, 1, kStart).value();
      ASSERT_EQ(decision.allowed, round == 0) << i;
    }
  }
  EXPECT_EQ(table.CountInUse(kStart), kKeys);
  EXPECT_EQ(table->evicted(), 0U);
  // Others may follow them for ever: those that are over go first, and nothing grows.
  for (uint64_t i = kKeys; i < 2 * kKeys; ++i) {
    ASSERT_TRUE(table->Decide(KeyOf(i), limit, 1, kStart + 2h).value().allowed) << i;
  }
  EXPECT_EQ(table.CountInUse(kStart + 2h), kKeys);
  EXPECT_EQ(table->evicted(), 0U);
}

// As if each part of a large table were what a small one is.
TEST(KeyTableTest, OfALargeTableAPartIsReadAndStandsForAll) {
  Table table(4000);
  const FixedWindow limit(1, 1h);
  for (uint64_t i = 0; i < 4000; ++i) ASSERT_EQ(Allowed(table.table, KeyOf(i), limit, 1), 1);
  const std::span<const std::byte> small = table.memory.bytes();
  const size_t head = KeyTable::kAlignment;  // the counts
  const size_t buckets = small.size() - head;
  uint64_t bytes_read = 0;
  const auto read = [&](std::span<std::byte> into, size_t offset) {
    bytes_read += into.size();
    for (size_t i = 0; i < into.size(); i += head) {
      const size_t at = offset + i;
      std::memcpy(&into[i], &small[at < head ? at : head + (at - head) % buckets], head);
    }
    return true;
  };
  constexpr size_t kMost = size_t{64} << 20;
  for (const size_t large : {kMost + 2 * head, 2 * kMost, size_t{128} << 30}) {
    bytes_read = 0;
    const auto use = KeyTable::ReadUse(large, read, kStart);
    ASSERT_TRUE(use.has_value());
    EXPECT_LE(bytes_read, kMost + head) << large;
    const double expected = 4000.0 * static_cast<double>(large) / static_cast<double>(buckets);
    EXPECT_NEAR(static_cast<double>(use->keys) / expected, 1, 0.02) << large;
  }
}

TEST(KeyTableTest, WhenFullTheKeyThatExpiresFirstGoesAndIsCounted) {
  Table table(1);  // two buckets: each key may stand anywhere
  const FixedWindow minute(1, 1min);
  const FixedWindow hour(1, 1h);
  for (uint64_t i = 0; i < 11; ++i) ASSERT_EQ(Allowed(table.table, KeyOf(i), hour, 2), 1);
  ASSERT_EQ(Allowed(table.table, KeyOf(11), minute, 2), 1);
  EXPECT_EQ(table->evicted(), 0U);
  EXPECT_EQ(table.CountInUse(kStart), table->places());

  EXPECT_EQ(Allowed(table.table, KeyOf(12), hour, 2, kStart + 1s), 1);
  EXPECT_EQ(table->evicted(), 1U);
  EXPECT_EQ(table.ReadUse(kStart).evicted, 1U);
  EXPECT_FALSE(table->Find(KeyOf(11)));
  for (uint64_t i = 0; i < 11; ++i) {
    EXPECT_EQ(Allowed(table.table, KeyOf(i), hour, 1, kStart + 1s), 0) << i;
  }
}

TEST(KeyTableTest, AnIdleKeyGoesBeforeAnyThatIsInUse) {
  Table table(1);
  const LeakyBucket second(1, 5, true);
  const FixedWindow hour(1, 1h);
  for (uint64_t i = 0; i < 11; ++i) ASSERT_EQ(Allowed(table.table, KeyOf(i), hour, 2), 1);
  ASSERT_EQ(Allowed(table.table, KeyOf(11), second, 10), 6);
  EXPECT_EQ(Allowed(table.table, KeyOf(12), hour, 2, kStart + 8s), 1);
  EXPECT_EQ(table->evicted(), 0U);
  EXPECT_FALSE(table->Find(KeyOf(11)));
}

TEST(KeyTableTest, WhatIsUnderWayIsNeverEvicted) {
  Table table(1);
  const ConcurrencyLimit limit({.places = 1});
  for (uint64_t i = 0; i < 12; ++i) ASSERT_EQ(Allowed(table.table, KeyOf(i), limit, 2), 1);
  const FixedWindow other(1, 1h);
  EXPECT_FALSE(table->Decide(KeyOf(99), other, 1, kStart + 24h));
  EXPECT_EQ(table->refused(), 1U);
  EXPECT_EQ(table->evicted(), 0U);

  table->Leave(KeyOf(5), [](uint64_t word) { return ConcurrencyLimit::Left(word); });
  EXPECT_EQ(Allowed(table.table, KeyOf(99), other, 2, kStart + 24h), 1);
  EXPECT_FALSE(table->Find(KeyOf(5), true));
  table->Leave(KeyOf(5), [](uint64_t word) { return ConcurrencyLimit::Left(word); });
}

TEST(KeyTableTest, AgreesWithAMapAsLongAsThereIsRoom) {
  Table table(2000);
  std::mt19937_64 random(7);
  const SlidingWindow limit(5, 2s);
  std::map<uint64_t, std::atomic<uint64_t>> words;
  TimePoint now = kStart;
  for (int i = 0; i < 200'000; ++i) {
    now += milliseconds(random() % 3);
    const uint64_t key = random() % 2000;
    const Decision expected = Decide(words[key], limit, 1, now);
    const Decision got = table->Decide(KeyOf(key), limit, 1, now).value();
    ASSERT_EQ(got.allowed, expected.allowed) << i;
    ASSERT_EQ(got.remaining, expected.remaining);
    ASSERT_EQ(got.retry_after, expected.retry_after);
  }
  EXPECT_EQ(table->evicted(), 0U);
}

// What several deciders do with one table, and what they were allowed, by key.
constexpr int kDeciders = 4;
constexpr uint64_t kKeys = 64;
using Tallies = std::array<std::atomic<uint64_t>, kKeys>;

template <typename L>
void Hammer(KeyTable& table, const L& limit, Tallies& allowed, int decider, int requests) {
  std::mt19937_64 random(static_cast<uint64_t>(decider));
  for (int i = 0; i < requests; ++i) {
    const uint64_t key = random() % kKeys;
    if (table.Decide(KeyOf(key), limit, 1, kStart).value().allowed) ++allowed[key];
  }
}

TEST(KeyTableTest, ThreadsAreAllowedExactlyTheLimit) {
  for (int round = 0; round < 20; ++round) {  // keys are inserted anew each time
    Table table(kKeys);
    Tallies allowed = {};
    const TokenBucket limit(20, 1.0);
    std::vector<std::thread> threads;
    for (int i = 0; i < kDeciders; ++i) {
      threads.emplace_back([&, i] { Hammer(table.table, limit, allowed, i, 2000); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& count : allowed) ASSERT_EQ(count, 20U);
  }
}

TEST(KeyTableTest, ProcessesAreAllowedExactlyTheLimit) {
  for (int round = 0; round < 20; ++round) {
    Table table(kKeys);
    const SharedMemory tallies(sizeof(Tallies));
    const FixedWindow limit(20, 10s);
    Await(Fork(kDeciders, [&](int i) {
      KeyTable mine(table.memory.bytes());
      Hammer(mine, limit, tallies.as<Tallies>(), i, 2000);
    }));
    for (const auto& count : tallies.as<Tallies>()) ASSERT_EQ(count, 20U);
  }
}

TEST(KeyTableTest, TenThousandRequestsAtTwiceTheLimitAllowExactlyTheLimit) {
  Table table(1'000'000);
  const SharedMemory tallies(sizeof(Tallies));
  const FixedWindow limit(5000, 60s);
  Await(Fork(2, [&](int) {
    KeyTable mine(table.memory.bytes());
    const int allowed = Allowed(mine, KeyOf(1), limit, 5000);
    tallies.as<Tallies>()[0] += static_cast<uint64_t>(allowed);
  }));
  EXPECT_EQ(tallies.as<Tallies>()[0], 5000U);
}

TEST(KeyTableTest, ProcessesAtTwiceTheRateAreAllowedTheRate) {
  constexpr int kOffered = 20'000;  // in 10 seconds, at 1,000 a second
  Table table(1000);
  const SharedMemory tallies(sizeof(Tallies));
  const LeakyBucket limit(1000, 5, false);
  // The clock that both go by is how many requests there were.
  Await(Fork(2, [&](int) {
    auto& [next, allowed] = tallies.as<std::pair<std::atomic<int>, std::atomic<int>>>();
    for (int i = next++; i < kOffered; i = next++) {
      const TimePoint now = kStart + nanoseconds(10s) * i / kOffered;
      if (table->Decide(KeyOf(1), limit, 1, now).value().allowed) ++allowed;
    }
  }));
  const int allowed = tallies.as<std::pair<std::atomic<int>, std::atomic<int>>>().second;
  EXPECT_NEAR(allowed, 10'000, 50);
}

// Keys that crowd each other out all the time: inserting, settling and evicting everywhere.
TEST(KeyTableTest, AKeyNeverStandsInTwoPlaces) {
  Table table(4);
  const FixedWindow limit(1000, 10s);
  Await(Fork(kDeciders, [&](int decider) {
    KeyTable mine(table.memory.bytes());
    std::mt19937_64 random(static_cast<uint64_t>(decider));
    for (int i = 0; i < 100'000; ++i) mine.Decide(KeyOf(random() % 40), limit, 1, kStart);
  }));
  EXPECT_GT(table->evicted(), 0U);
  // Past the counts, tags and words of 16 bytes each, 6 in a bucket.
  std::map<uint64_t, int> tags;
  const auto bytes = table.memory.bytes().subspan(128);
  for (size_t at = 0; at < bytes.size(); at += 16) {
    if (at % 128 >= 96) continue;
    uint64_t tag;
    std::memcpy(&tag, &bytes[at], sizeof tag);
    if (tag != 0) ++tags[tag];
  }
  EXPECT_GT(tags.size(), 6U);
  for (const auto& [tag, count] : tags) EXPECT_EQ(count, 1) << tag;
}

TEST(KeyTableTest, ProcessesKilledAtAnyMomentLeaveItUsable) {
  Table table(4);
  const FixedWindow limit(1'000'000, 10s);
  const SharedMemory progress(sizeof(std::atomic<uint64_t>));
  auto& decisions = progress.as<std::atomic<uint64_t>>();
  for (int round = 0; round < 100; ++round) {
    const uint64_t before = decisions;
    const auto children = Fork(2, [&](int decider) {
      std::mt19937_64 random(static_cast<uint64_t>(2 * round + decider));
      for (;;) {
        table->Decide(KeyOf(random() % 40), limit, 1, kStart);
        ++decisions;
      }
    });
    while (decisions < before + 1000 + static_cast<uint64_t>(round)) std::this_thread::yield();
    for (const pid_t child : children) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }
  EXPECT_EQ(table->refused(), 0U);
  const FixedWindow small(3, 10s);
  for (uint64_t i = 100; i < 200; ++i) ASSERT_EQ(Allowed(table.table, KeyOf(i), small, 10), 3);
  // Also what the dead were about to write is gone when its time is over.
  EXPECT_EQ(table.CountInUse(kStart + 1h), 0U);
}

}  // namespace
}  // namespace sluice::ratelimit
