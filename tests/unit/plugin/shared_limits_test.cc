#include "gateway/plugin/shared_limits.h"

#include <gtest/gtest.h>

#include "ratelimit/fixed_window.h"

namespace sluice {
namespace {

using ratelimit::ConcurrencyLimit;
using ratelimit::FixedWindow;
using ratelimit::TimePoint;

constexpr TimePoint kNow(std::chrono::hours(10));

class SharedLimitsTest : public testing::Test {
 protected:
  std::shared_ptr<SharedLimits> Worker(uint32_t index) const {
    return *SharedLimits::Map(master_->memory(), 1000, 2, index);
  }

  std::shared_ptr<SharedLimits> master_ = *SharedLimits::Make(1000, 2);
};

TEST_F(SharedLimitsTest, WorkersCountTogether) {
  const FixedWindow limit(2, std::chrono::seconds(1));
  const Hash128 name = SharedLimits::NameOf("route/1 limit-count");
  int allowed = 0;
  for (const uint32_t index : {0, 1, 0, 1}) {
    const auto worker = Worker(index);
    const auto decision = worker->table().Decide(worker->KeyOf(name, "10.0.0.1"), limit, 1, kNow);
    ASSERT_TRUE(decision.has_value());
    allowed += decision->allowed ? 1 : 0;
  }
  EXPECT_EQ(allowed, 2);
  // Another limit, another key.
  const auto worker = Worker(0);
  for (const auto& [limit_name, key] : {std::pair("route/2 limit-count", "10.0.0.1"),
                                        std::pair("route/1 limit-count", "10.0.0.2")}) {
    const auto hash = worker->KeyOf(SharedLimits::NameOf(limit_name), key);
    EXPECT_TRUE(worker->table().Decide(hash, limit, 1, kNow)->allowed);
  }
}

TEST_F(SharedLimitsTest, WhatADeadWorkerHadLetInIsTakenOut) {
  const ConcurrencyLimit limit({.places = 1});
  const auto dead = Worker(0);
  const auto other = Worker(1);
  const auto key = dead->KeyOf(SharedLimits::NameOf("route/1 limit-conn"), "a");
  ASSERT_TRUE(dead->ledger().Enter(dead->table(), key, limit, kNow)->decision.allowed);
  EXPECT_FALSE(other->ledger().Enter(other->table(), key, limit, kNow)->decision.allowed);
  master_->ClearLedger(1);  // another one's
  EXPECT_FALSE(other->ledger().Enter(other->table(), key, limit, kNow)->decision.allowed);
  master_->ClearLedger(0);
  EXPECT_TRUE(other->ledger().Enter(other->table(), key, limit, kNow)->decision.allowed);
}

TEST_F(SharedLimitsTest, TheSecretDiffersFromHostToHost) {
  const auto other = *SharedLimits::Make(1000, 2);
  const Hash128 name = SharedLimits::NameOf("route/1 limit-count");
  EXPECT_NE(other->KeyOf(name, "a").low, master_->KeyOf(name, "a").low);
  EXPECT_FALSE(SharedLimits::Map(master_->memory(), 2000, 2, 0).has_value());
}

TEST_F(SharedLimitsTest, WhoIsNoWorkerReadsHowFullItIs) {
  const FixedWindow limit(2, std::chrono::seconds(1));
  const Hash128 name = SharedLimits::NameOf("route/1 limit-count");
  const auto worker = Worker(0);
  for (const std::string_view key : {"a", "b", "a", "c"}) {
    ASSERT_TRUE(worker->table().Decide(worker->KeyOf(name, key), limit, 1, kNow).has_value());
  }
  const auto use = SharedLimits::ReadUse(master_->memory(), 1000, kNow);
  ASSERT_TRUE(use.has_value());
  EXPECT_EQ(use->keys, 3U);
  EXPECT_EQ(SharedLimits::ReadUse(master_->memory(), 1000, kNow + std::chrono::minutes(1))->keys,
            0U);
  EXPECT_FALSE(SharedLimits::ReadUse(UniqueFd(), 1000, kNow).has_value());
}

}  // namespace
}  // namespace sluice
