#include "plugins/support/identifiers.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace sluice::plugins {
namespace {

RandomBits Seeded() {
  return [random = std::mt19937_64(1)]() mutable { return random(); };
}
uint64_t Zeros() { return 0; }
uint64_t Ones() { return UINT64_MAX; }

WallTime At(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

TEST(IdentifiersTest, UuidV4HasItsVersionAndVariant) {
  EXPECT_EQ(MakeUuidV4(Zeros), "00000000-0000-4000-8000-000000000000");
  EXPECT_EQ(MakeUuidV4(Ones), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}

// The example of RFC 9562, appendix A.6.
TEST(IdentifiersTest, UuidV7BeginsWithTheTime) {
  const auto bits = [values = std::array<uint64_t, 2>{0x0cc3, 0x18c4dc0c0c07398f},
                     next = size_t{0}]() mutable { return values.at(next++); };
  EXPECT_EQ(MakeUuidV7(At(0x017f22e279b0), bits), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST(IdentifiersTest, UuidV7SortsByTime) {
  const RandomBits random = Seeded();
  std::string last;
  for (int64_t time = 1'700'000'000'000; time < 1'700'000'000'500; ++time) {
    const std::string next = MakeUuidV7(At(time), random);
    EXPECT_LT(last, next);
    last = next;
  }
}

TEST(IdentifiersTest, NanoIdHas21CharactersForUris) {
  const RandomBits random = Seeded();
  std::set<char> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = MakeNanoId(random);
    EXPECT_EQ(id.size(), 21u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-"),
              std::string::npos);
    seen.insert(id.begin(), id.end());
  }
  EXPECT_EQ(seen.size(), 64u);
}

TEST(IdentifiersTest, KsuidIsTheTimeAndTheBitsInBase62) {
  EXPECT_EQ(MakeKsuid(At(1'400'000'000'000), Zeros), "000000000000000000000000000");
  // The greatest that there is.
  EXPECT_EQ(MakeKsuid(At((1'400'000'000 + int64_t{0xffffffff}) * 1000), Ones),
            "aWgEPTl1tmebfsQzFP4bxwgy80V");
}

TEST(IdentifiersTest, KsuidSortsByTheSecond) {
  const RandomBits random = Seeded();
  std::string last;
  for (int64_t time = 1'700'000'000; time < 1'700'000'500; ++time) {
    const std::string next = MakeKsuid(At(time * 1000), random);
    EXPECT_EQ(next.size(), 27u);
    EXPECT_LT(last, next);
    last = next;
  }
}

TEST(IdentifiersTest, ASetGivesAllItsCharactersAndNoOthers) {
  const RandomBits random = Seeded();
  const std::string text = MakeFromSet("abcde", 10'000, random);
  EXPECT_EQ(text.size(), 10'000u);
  EXPECT_EQ(text.find_first_not_of("abcde"), std::string::npos);
  for (const char c : std::string("abcde")) {
    EXPECT_NEAR(static_cast<double>(std::count(text.begin(), text.end(), c)), 2000, 200);
  }
  EXPECT_EQ(MakeFromSet("abc", 4, Ones), "cccc");
  EXPECT_EQ(MakeFromSet("abc", 4, Zeros), "aaaa");
}

}  // namespace
}  // namespace sluice::plugins
