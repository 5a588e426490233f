#include "ratelimit/sip_hash.h"

#include <string>

#include <gtest/gtest.h>

namespace sluice::ratelimit {
namespace {

// The secret is 00 01 … 0f and the input 00 01 … of that length, as in the authors' vectors.
// OpenSSL: openssl mac -macopt hexkey:… -macopt size:16 -in FILE SIPHASH
TEST(SipHashTest, GivesTheKnownHashes) {
  const struct {
    size_t length;
    Hash128 hash;
  } known[] = {
      {0, {0xe6a825ba047f81a3, 0x930255c71472f66d}},
      {1, {0x44af996bd8c187da, 0x45fc229b11597634}},
      {8, {0x61f55862baa9623b, 0xb49714f364e2830f}},
      {15, {0x11a8b03399e99354, 0xd9c3cf970fec087e}},
      {16, {0xbb54b067caa4e26e, 0x77052385bf1533fd}},
      {33, {0x321cf0467107c677, 0xcfffa94e5f9db6b6}},
  };
  const Hash128 secret{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  for (const auto& [length, hash] : known) {
    std::string input;
    for (size_t i = 0; i < length; ++i) input += static_cast<char>(i);
    const Hash128 got = SipHash(secret, input);
    EXPECT_EQ(got.low, hash.low) << length;
    EXPECT_EQ(got.high, hash.high) << length;
  }
}

TEST(SipHashTest, AnotherSecretGivesAnotherHash) {
  EXPECT_NE(SipHash({1, 2}, "client"), SipHash({1, 3}, "client"));
  EXPECT_NE(SipHash({1, 2}, std::string_view("a\0", 2)), SipHash({1, 2}, "a"));
}

}  // namespace
}  // namespace sluice::ratelimit
