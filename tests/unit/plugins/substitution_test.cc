#include "plugins/support/substitution.h"

#include <gtest/gtest.h>

namespace sluice::plugins {
namespace {

TEST(ReplaceTest, NothingBecomesLongerThanTheLimit) {
  const Regex regex = *Regex::Make("a", Regex::Case::kSensitive);
  const Substitution twice = *Substitution::Make("$0$0");
  std::string out = "=";
  EXPECT_TRUE(Replace(regex, twice, "aab", {.all = true, .limit = 5}, out));
  EXPECT_EQ(out, "=aaaab");
  EXPECT_FALSE(Replace(regex, twice, "aab", {.all = true, .limit = 4}, out));
  EXPECT_EQ(out, "=aaaab");
  EXPECT_TRUE(Replace(regex, twice, "aab", {.limit = 4}, out));
  EXPECT_EQ(out, "=aaaabaaab");
  EXPECT_FALSE(Replace(regex, twice, "bbbbb", {.limit = 4}, out));
  // Long before all of it is made.
  const Substitution large = *Substitution::Make(std::string(64 * 1024, 'x'));
  EXPECT_FALSE(Replace(regex, large, std::string(1 << 20, 'a'), {.all = true}, out));
  EXPECT_EQ(out, "=aaaabaaab");
  EXPECT_LT(out.capacity(), size_t{4} << 20);
}

}  // namespace
}  // namespace sluice::plugins
