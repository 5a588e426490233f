#include "gateway/net/deadline.h"

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;

constexpr MonoTime kStart{hours(1)};
constexpr Duration kTick = DeadlineWheel::kTick;
constexpr Duration kHorizon = kTick * 1024;

// A deadline that notes when it fires, or does what the test wants.
struct Timed final : Deadline::Observer {
  explicit Timed(DeadlineWheel& owner) : wheel(owner), deadline(owner, *this) {}
  void OnDeadline() override {
    fired.push_back(wheel.now());
    if (on_fire) on_fire();
  }

  DeadlineWheel& wheel;
  Deadline deadline;
  std::vector<MonoTime> fired;
  std::function<void()> on_fire;
};

// Advances tick by tick, as the loop's timer does.
void AdvanceTo(DeadlineWheel& wheel, MonoTime end) {
  while (wheel.now() + kTick <= end) wheel.Advance(wheel.now() + kTick);
  wheel.Advance(end);
}

TEST(DeadlineTest, FiresOnceAndNeverEarly) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.deadline.Set(kStart + milliseconds(250));
  EXPECT_TRUE(timed.deadline.is_set());
  AdvanceTo(wheel, kStart + milliseconds(249));
  EXPECT_TRUE(timed.fired.empty());
  AdvanceTo(wheel, kStart + milliseconds(500));
  EXPECT_EQ(timed.fired.size(), 1U);
  EXPECT_FALSE(timed.deadline.is_set());
  AdvanceTo(wheel, kStart + seconds(200));
  EXPECT_EQ(timed.fired.size(), 1U);
}

TEST(DeadlineTest, FiresWithinTwoTicks) {
  std::mt19937_64 random(1);
  DeadlineWheel wheel(kStart + milliseconds(37));
  for (int round = 0; round < 2000; ++round) {
    Timed timed(wheel);
    const MonoTime at = wheel.now() + milliseconds(random() % 30'000);
    timed.deadline.Set(at);
    while (timed.fired.empty()) wheel.Advance(wheel.now() + milliseconds(60 + random() % 40));
    ASSERT_GE(timed.fired[0], at);
    ASSERT_LT(timed.fired[0], at + 2 * kTick);
  }
}

TEST(DeadlineTest, PastDeadlineFiresAtTheNextTick) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.deadline.Set(kStart - seconds(5));
  wheel.Advance(kStart);
  EXPECT_TRUE(timed.fired.empty()) << "not from inside the tick that has passed";
  wheel.Advance(kStart + kTick);
  EXPECT_THAT(timed.fired, ElementsAre(kStart + kTick));
}

TEST(DeadlineTest, MovedLaterFiresLater) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  for (int i = 0; i < 100; ++i) {
    timed.deadline.Set(wheel.now() + seconds(10));
    AdvanceTo(wheel, wheel.now() + seconds(5));
  }
  EXPECT_TRUE(timed.fired.empty());
  AdvanceTo(wheel, wheel.now() + seconds(5) + 2 * kTick);
  EXPECT_EQ(timed.fired.size(), 1U);
}

TEST(DeadlineTest, MovedEarlierFiresEarlier) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.deadline.Set(kStart + seconds(60));
  timed.deadline.Set(kStart + seconds(1));
  AdvanceTo(wheel, kStart + seconds(1) + 2 * kTick);
  EXPECT_EQ(timed.fired.size(), 1U);
  AdvanceTo(wheel, kStart + seconds(70));
  EXPECT_EQ(timed.fired.size(), 1U);
}

TEST(DeadlineTest, CancelledDoesNotFire) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.deadline.Set(kStart + seconds(1));
  timed.deadline.Cancel();
  EXPECT_FALSE(timed.deadline.is_set());
  AdvanceTo(wheel, kStart + seconds(5));
  EXPECT_TRUE(timed.fired.empty());
  timed.deadline.Set(kStart + seconds(6));
  AdvanceTo(wheel, kStart + seconds(7));
  EXPECT_EQ(timed.fired.size(), 1U) << "can be set again";
}

TEST(DeadlineTest, CancelledAndSetAgainBeforeItsSlotComes) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.deadline.Set(kStart + seconds(10));
  timed.deadline.Cancel();
  timed.deadline.Set(kStart + seconds(2));
  AdvanceTo(wheel, kStart + seconds(2) + 2 * kTick);
  EXPECT_EQ(timed.fired.size(), 1U);
}

TEST(DeadlineTest, BeyondTheHorizonIsExact) {
  DeadlineWheel wheel(kStart);
  for (const Duration wait : {kHorizon - kTick, kHorizon, kHorizon + kTick, 10 * kHorizon}) {
    Timed timed(wheel);
    const MonoTime at = wheel.now() + wait;
    timed.deadline.Set(at);
    AdvanceTo(wheel, at - milliseconds(1));
    EXPECT_TRUE(timed.fired.empty());
    AdvanceTo(wheel, at + 2 * kTick);
    EXPECT_EQ(timed.fired.size(), 1U);
  }
}

TEST(DeadlineTest, StallFiresEverythingDueOnce) {
  DeadlineWheel wheel(kStart);
  std::vector<std::unique_ptr<Timed>> due;
  for (int i = 0; i < 3000; ++i) {
    due.push_back(std::make_unique<Timed>(wheel));
    due.back()->deadline.Set(kStart + i * milliseconds(100));
  }
  Timed later(wheel);
  later.deadline.Set(kStart + seconds(100'001));
  wheel.Advance(kStart + seconds(100'000));
  for (const auto& timed : due) EXPECT_EQ(timed->fired.size(), 1U);
  EXPECT_TRUE(later.fired.empty());
  AdvanceTo(wheel, kStart + seconds(100'001) + 2 * kTick);
  EXPECT_EQ(later.fired.size(), 1U);
}

TEST(DeadlineTest, SetAgainInTheCallback) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.on_fire = [&] { timed.deadline.Set(wheel.now() + seconds(1)); };
  timed.deadline.Set(kStart + seconds(1));
  AdvanceTo(wheel, kStart + seconds(11));
  EXPECT_GE(timed.fired.size(), 8U);
  EXPECT_LE(timed.fired.size(), 10U);
  for (size_t i = 1; i < timed.fired.size(); ++i) {
    EXPECT_GE(timed.fired[i] - timed.fired[i - 1], seconds(1));
  }
}

TEST(DeadlineTest, SetToThePastInTheCallbackDoesNotLoop) {
  DeadlineWheel wheel(kStart);
  Timed timed(wheel);
  timed.on_fire = [&] { timed.deadline.Set(kStart); };
  timed.deadline.Set(kStart);
  wheel.Advance(kStart + kTick);
  EXPECT_EQ(timed.fired.size(), 1U);
  wheel.Advance(kStart + 2 * kTick);
  EXPECT_EQ(timed.fired.size(), 2U);
}

TEST(DeadlineTest, DestroyedBeforeIsForgotten) {
  DeadlineWheel wheel(kStart);
  auto timed = std::make_unique<Timed>(wheel);
  timed->deadline.Set(kStart + seconds(1));
  timed.reset();
  AdvanceTo(wheel, kStart + seconds(2));
}

TEST(DeadlineTest, MayDestroyItselfAndOthersThatAreDue) {
  DeadlineWheel wheel(kStart);
  std::vector<std::unique_ptr<Timed>> all(3);
  int fired = 0;
  for (auto& timed : all) {
    timed = std::make_unique<Timed>(wheel);
    timed->on_fire = [&] {
      ++fired;
      const auto dying = std::exchange(all, {});
    };
    timed->deadline.Set(kStart + seconds(1));
  }
  AdvanceTo(wheel, kStart + seconds(2));
  EXPECT_EQ(fired, 1);
}

TEST(DeadlineTest, MayCancelAndMoveOthersThatAreDue) {
  DeadlineWheel wheel(kStart);
  Timed first(wheel);
  Timed cancelled(wheel);
  Timed moved(wheel);
  first.on_fire = [&] {
    cancelled.deadline.Cancel();
    moved.deadline.Set(kStart + seconds(5));
  };
  for (Timed* timed : {&first, &cancelled, &moved}) timed->deadline.Set(kStart + seconds(1));
  AdvanceTo(wheel, kStart + seconds(4));
  EXPECT_EQ(first.fired.size(), 1U);
  EXPECT_TRUE(cancelled.fired.empty());
  EXPECT_TRUE(moved.fired.empty());
  AdvanceTo(wheel, kStart + seconds(6));
  EXPECT_TRUE(cancelled.fired.empty());
  EXPECT_EQ(moved.fired.size(), 1U);
}

TEST(DeadlineTest, AgreesWithASimpleModel) {
  std::mt19937_64 random(2);
  DeadlineWheel wheel(kStart);
  struct Entry {
    std::unique_ptr<Timed> timed;
    std::optional<MonoTime> at;
  };
  std::vector<Entry> entries(20);
  for (Entry& entry : entries) entry.timed = std::make_unique<Timed>(wheel);
  for (int step = 0; step < 50'000; ++step) {
    Entry& entry = entries[random() % entries.size()];
    switch (random() % 4) {
      case 0:
        entry.at = wheel.now() + milliseconds(random() % (random() % 10 == 0 ? 300'000 : 2'000));
        entry.timed->deadline.Set(*entry.at);
        break;
      case 1:
        if (random() % 4 == 0) {
          entry.at.reset();
          entry.timed->deadline.Cancel();
        }
        break;
      default:
        wheel.Advance(wheel.now() + milliseconds(random() % 150));
    }
    for (Entry& each : entries) {
      if (!each.timed->fired.empty()) {
        ASSERT_TRUE(each.at.has_value());
        ASSERT_GE(each.timed->fired[0], *each.at);
        each.timed->fired.clear();
        each.at.reset();
      } else if (each.at) {
        ASSERT_LT(wheel.now(), *each.at + 2 * kTick);
      }
    }
  }
}

}  // namespace
}  // namespace sluice
