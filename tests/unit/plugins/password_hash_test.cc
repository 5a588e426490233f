#include "plugins/support/password_hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::plugins {
namespace {

using testing::HasSubstr;

// All of "secret", by other programs than this: openssl passwd, Python's crypt.
constexpr const char* kHashes[] = {
    "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    "$y$j9T$abcdefghijklmnop$3dL1LkYnZM.OVXuVdnnaKVDlLYT92dRwOzDZ5XiVCe.",
    "$6$rounds=1000$abcdefgh$"
    "nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2kgY5hR2."
    "peKEg2VGUqIJJu1",
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/"
    "O6IND4WQhG.",
    "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
};

TEST(PasswordHashTest, OnlyThePasswordMatches) {
  for (const std::string hash : kHashes) {
    EXPECT_TRUE(CheckPasswordHash(hash).has_value()) << hash;
    EXPECT_TRUE(MatchesPasswordHash("secret", hash)) << hash;
    for (const std::string& other :
         {std::string(), std::string("Secret"), std::string("secret "), std::string("secret\0", 7),
          std::string("secret\0x", 8), std::string(10000, 's'), hash}) {
      EXPECT_FALSE(MatchesPasswordHash(other, hash)) << hash << " " << other;
    }
  }
}

std::string Refusal(std::string_view hash) {
  const Status checked = CheckPasswordHash(hash);
  return checked.has_value() ? "accepted" : checked.error().detail;
}

TEST(PasswordHashTest, RefusesWhatCouldNeverMatchOrIsWeak) {
  for (const std::string_view hash :
       {"", "secret", "$", "$6$", "$6$abcdefgh$", "$6$abcdefgh$short",
        "$1$abcdefgh$mXpiI4nQ93RBGLOpgVBm00", "ab01FAX.bQRSU", "$2b$10$short", "$9$x$y",
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"}) {
    EXPECT_THAT(Refusal(hash), HasSubstr("expected a hash of crypt(3)")) << hash;
  }
  std::string broken = kHashes[3];
  broken.back() = '!';
  EXPECT_THAT(Refusal(broken), HasSubstr("expected a hash of crypt(3)"));
}

TEST(PasswordHashTest, RefusesWhatCostsTooMuch) {
  std::string bcrypt = kHashes[0];
  EXPECT_EQ(Refusal(bcrypt.replace(4, 2, "14")), "accepted");
  EXPECT_THAT(Refusal(bcrypt.replace(4, 2, "15")), HasSubstr("cost up to 14, got 15"));
  std::string sha = kHashes[2];
  EXPECT_EQ(Refusal(sha.replace(10, 4, "1000000")), "accepted");
  EXPECT_THAT(Refusal(sha.replace(10, 7, "1000001")), HasSubstr("up to 1000000 rounds"));
  std::string yescrypt = kHashes[1];
  EXPECT_EQ(Refusal(yescrypt.replace(3, 3, "jCT")), "accepted");
  for (const char* cost : {"jDT", "jFT", "jVT", "jCU", "/..", "jCTT"}) {
    yescrypt = kHashes[1];
    EXPECT_THAT(Refusal(yescrypt.replace(3, 3, cost)), HasSubstr("cost up to 8, got")) << cost;
  }
}

}  // namespace
}  // namespace sluice::plugins
