#include "balancer/hash.h"

#include <bit>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "balancer/random.h"

namespace sluice::balancer {
namespace {

TEST(Crc32Test, IsThatOfTheStandard) {
  EXPECT_EQ(Crc32(""), 0U);
  EXPECT_EQ(Crc32("123456789"), 0xcbf43926U);
  EXPECT_EQ(Crc32("The quick brown fox jumps over the lazy dog"), 0x414fa339U);
  EXPECT_EQ(Crc32(std::string(32, '\xff')), 0xff6cab0bU);
}

TEST(Crc32Test, ContinuesAnywhere) {
  const std::string text = "The quick brown fox jumps over the lazy dog";
  for (size_t at = 0; at <= text.size(); ++at) {
    EXPECT_EQ(Crc32(text.substr(at), Crc32(text.substr(0, at))), 0x414fa339U) << at;
  }
}

// The values decide where users are sent; a change of the function would move all of them.
TEST(HashBytesTest, NeverChanges) {
  EXPECT_EQ(HashBytes(""), 0xb3eff36709d0f6dcU);
  EXPECT_EQ(HashBytes("a"), 0x147415e62d2319acU);
  EXPECT_EQ(HashBytes("user-42"), 0x52292a5fda4e0e1dU);
  EXPECT_EQ(HashBytes("0123456789abcdef"), 0xcab4f89de8795e06U);
  EXPECT_EQ(HashBytes("0123456789abcdefg", 7), 0xc7210e83c97882e3U);
}

// Changing one bit of the input changes about half of the bits of the hash, whichever it is.
TEST(HashBytesTest, EveryBitCounts) {
  for (const size_t length : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64}) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += static_cast<char>('a' + i * 7 % 26);
    double total = 0;
    for (size_t bit = 0; bit < length * 8; ++bit) {
      std::string other = text;
      other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
      const int changed = std::popcount(HashBytes(text) ^ HashBytes(other));
      EXPECT_GE(changed, 10) << "length " << length << " bit " << bit;
      total += changed;
    }
    EXPECT_NEAR(total / static_cast<double>(length * 8), 32, 5) << length;
  }
}

TEST(HashBytesTest, SeedsAndLengthsDiffer) {
  EXPECT_NE(HashBytes("x", 1), HashBytes("x", 2));
  EXPECT_NE(HashBytes(std::string(1, '\0')), HashBytes(std::string(2, '\0')));
  EXPECT_NE(HashBytes(""), HashBytes(std::string(1, '\0')));
}

// Numbered keys, as user ids are, fall evenly: chi-square of 1000 cells, 99.9 % quantile 1143.
TEST(HashBytesTest, NumberedKeysSpreadEvenly) {
  std::vector<int> cells(1000);
  for (int i = 0; i < 100'000; ++i) {
    ++cells[ScaleTo(HashBytes("user-" + std::to_string(i)), cells.size())];
  }
  double chi_square = 0;
  for (const int count : cells) chi_square += (count - 100) * (count - 100) / 100.0;
  EXPECT_LT(chi_square, 1143);
  EXPECT_GT(chi_square, 867) << "too even to be a hash";
}

}  // namespace
}  // namespace sluice::balancer
