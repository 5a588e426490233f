#include "gateway/proxy/body_pace.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr MonoTime kStart{seconds(1000)};
constexpr uint64_t kHead = 500;

BodyPace Started() {
  BodyPace pace;
  pace.Start(kStart, kHead);
  return pace;
}

TEST(BodyPaceTest, ABodyThatDoesNotComeHasTheGrace) {
  EXPECT_EQ(Started().Limit(kHead, 240), kStart + BodyPace::kGrace);
}

TEST(BodyPaceTest, EveryByteBuysItsTime) {
  EXPECT_EQ(Started().Limit(kHead + 240, 240), kStart + BodyPace::kGrace + seconds(1));
  EXPECT_EQ(Started().Limit(kHead + 24, 240), kStart + BodyPace::kGrace + milliseconds(100));
}

TEST(BodyPaceTest, TheTimeInWhichWeDoNotReadDoesNotCount) {
  BodyPace pace = Started();
  pace.Pause(kStart + seconds(2));
  pace.Resume(kStart + seconds(62));
  EXPECT_EQ(pace.Limit(kHead, 240), kStart + seconds(60) + BodyPace::kGrace);
}

TEST(BodyPaceTest, NoFloorAndNoLimitForWhoIsExcused) {
  BodyPace pace = Started();
  EXPECT_EQ(pace.Limit(kHead, 0), MonoTime::max());
  pace.Excuse();
  EXPECT_EQ(pace.Limit(kHead, 240), MonoTime::max());
  pace.Start(kStart, kHead);
  EXPECT_NE(pace.Limit(kHead, 240), MonoTime::max());
}

TEST(BodyPaceTest, HugeBodiesDoNotOverflow) {
  EXPECT_GT(Started().Limit(UINT64_MAX, 1), kStart + hours(24));
  EXPECT_GT(Started().Limit(UINT64_MAX, UINT32_MAX), kStart + hours(24));
}

}  // namespace
}  // namespace sluice
