#include "gateway/control/restart_policy.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

class RestartPolicyTest : public testing::Test {
 protected:
  // Lives for `life`, dies, and says how long to wait; the wait passes.
  Duration Die(Duration life) {
    policy_.OnStarted(now_);
    now_ += life;
    const Duration delay = policy_.OnDied(now_);
    now_ += delay;
    return delay;
  }

  MonoTime now_{hours(1)};
  RestartPolicy policy_;
};

TEST_F(RestartPolicyTest, StartsAgainAtOnceUntilTheFifthDeathInAMinute) {
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Die(seconds(1)), Duration::zero());
  EXPECT_EQ(Die(seconds(1)), seconds(1));
}

TEST_F(RestartPolicyTest, DoublesTheDelayUpToAMinute) {
  for (int i = 0; i < 5; ++i) Die(milliseconds(10));
  EXPECT_EQ(Die(milliseconds(10)), seconds(2));
  EXPECT_EQ(Die(milliseconds(10)), seconds(4));
  for (int i = 0; i < 70; ++i) Die(milliseconds(10));
  EXPECT_EQ(Die(milliseconds(10)), RestartPolicy::kMaxDelay);
}

TEST_F(RestartPolicyTest, ForgetsDeathsThatAreFarApart) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Die(seconds(20)), Duration::zero());
}

TEST_F(RestartPolicyTest, EndsTheBackOffAfterALifeOfAMinute) {
  for (int i = 0; i < 8; ++i) Die(milliseconds(10));
  EXPECT_EQ(Die(seconds(61)), Duration::zero());
  EXPECT_EQ(Die(milliseconds(10)), Duration::zero());
}

}  // namespace
}  // namespace sluice
