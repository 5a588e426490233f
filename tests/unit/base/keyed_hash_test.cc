#include "gateway/base/keyed_hash.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::array<uint8_t, 16> CountingKey() {
  std::array<uint8_t, 16> key;
  for (uint8_t i = 0; i < 16; ++i) key[i] = i;
  return key;
}

std::string Counting(size_t from, size_t to) {
  std::string text;
  for (size_t i = from; i < to; ++i) text += static_cast<char>(i);
  return text;
}

// The values of OpenSSL's SipHash for the key 00..0f and the texts 00..(n-1), of which the first
// sixteen bytes are the context:
//   openssl mac -macopt size:16 -macopt hexkey:000102… SIPHASH
struct Vector {
  size_t size;
  uint64_t low;
  uint64_t high;
};

constexpr Vector kVectors[] = {

    {16, 0xbb54b067caa4e26e, 0x77052385bf1533fd},  {17, 0x98b88d73e8063d47, 0x4077e47ac466c054},
    {23, 0xe0f5a9d5dd84d1c9, 0x1c69bf9a9ae28ccf},  {24, 0xd850bd78ae79b42d, 0xad32618a178a2a88},
    {25, 0x7b445e2d045fce8e, 0x6f8f8dcbeab95150},  {31, 0xfcfa233218b03929, 0x353dc4524fde2317},
    {32, 0x3efcea5eca56397c, 0x68eb4665559d3e36},  {63, 0x4a83502f77d15051, 0x7cbd3f979a063e50},
    {200, 0x9dff12edf453587c, 0x2d024740bc796a83},
};

TEST(KeyedHashTest, IsSipHash) {
  const KeyedHash hash(CountingKey());
  const Hash128 context{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  for (const Vector& vector : kVectors) {
    const Hash128 expected{vector.low, vector.high};
    EXPECT_EQ(hash.Of(context, Counting(16, vector.size)), expected) << vector.size;
  }
}

TEST(KeyedHashTest, DiffersByTextContextAndKey) {
  const KeyedHash hash;
  EXPECT_EQ(hash.Of("token"), hash.Of("token"));
  std::set<Hash128> seen;
  for (size_t size = 0; size < 70; ++size) {
    EXPECT_TRUE(seen.insert(hash.Of(std::string(size, '\0'))).second) << size;
  }
  EXPECT_NE(hash.Of({1, 0}, "token"), hash.Of({0, 1}, "token"));
  EXPECT_NE(hash.Of({1, 0}, "token"), hash.Of("token"));
  EXPECT_NE(KeyedHash().Of("token"), hash.Of("token"));
  EXPECT_EQ(KeyedHash::OfProcess().Of("token"), KeyedHash::OfProcess().Of("token"));
}

}  // namespace
}  // namespace sluice
