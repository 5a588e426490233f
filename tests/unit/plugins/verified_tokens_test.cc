#include "plugins/support/verified_tokens.h"

#include <string>

#include <gtest/gtest.h>

#include "plugins/support/secret_compare.h"

namespace sluice::plugins {
namespace {

constexpr Hash128 kKeys{1, 2};

Hash128 Name(const std::string& token) { return VerifiedTokens::NameOf(token, kKeys); }

TEST(VerifiedTokensTest, KnowsATokenDuringItsTime) {
  VerifiedTokens tokens(64);
  EXPECT_FALSE(tokens.Find(Name("a"), 100).has_value());
  tokens.Insert(Name("a"), {.subject = {7, 8}, .proof = 9, .from = 90, .until = 110});
  EXPECT_EQ(tokens.Find(Name("a"), 90)->subject, (Hash128{7, 8}));
  EXPECT_EQ(tokens.Find(Name("a"), 109)->proof, 9U);
  EXPECT_FALSE(tokens.Find(Name("a"), 89).has_value()) << "the clock was set back";
  EXPECT_FALSE(tokens.Find(Name("b"), 100).has_value());
  EXPECT_FALSE(tokens.Find(Name("a"), 110).has_value());
  EXPECT_FALSE(tokens.Find(Name("a"), 100).has_value()) << "was forgotten";
}

TEST(VerifiedTokensTest, OtherKeysMakeATokenUnknown) {
  VerifiedTokens tokens(64);
  tokens.Insert(Name("a"), {.from = 0, .until = 110});
  EXPECT_FALSE(tokens.Find(VerifiedTokens::NameOf("a", {1, 3}), 100).has_value());
}

TEST(VerifiedTokensTest, AnEntryIsReplaced) {
  VerifiedTokens tokens(8);
  for (uint64_t i = 0; i < 20; ++i) {
    tokens.Insert(Name("a"), {.proof = i, .from = 0, .until = 110});
    EXPECT_EQ(tokens.Find(Name("a"), 100)->proof, i);
  }
  tokens.Insert(Name("b"), {.from = 0, .until = 110});
  EXPECT_FALSE(tokens.Find(Name("a"), 110).has_value());
  EXPECT_FALSE(tokens.Find(Name("a"), 100).has_value()) << "it was there once only";
}

TEST(VerifiedTokensTest, TheLeastRecentlyUsedGivesWay) {
  VerifiedTokens tokens(8);
  ASSERT_EQ(tokens.capacity(), 8U) << "one set";
  for (int i = 0; i < 8; ++i) tokens.Insert(Name(std::to_string(i)), {.from = 0, .until = 9});
  EXPECT_TRUE(tokens.Find(Name("0"), 1).has_value());
  tokens.Insert(Name("8"), {.from = 0, .until = 9});
  EXPECT_FALSE(tokens.Find(Name("1"), 1).has_value());
  for (const char* kept : {"0", "2", "3", "4", "5", "6", "7", "8"}) {
    EXPECT_TRUE(tokens.Find(Name(kept), 1).has_value()) << kept;
  }
}

TEST(VerifiedTokensTest, ATokenThatNeverWasValidIsNotKept) {
  VerifiedTokens tokens(8);
  tokens.Insert(Name("a"), {.from = -5, .until = 0});
  EXPECT_FALSE(tokens.Find(Name("a"), -1).has_value());
}

TEST(VerifiedTokensTest, AMillionTokensTakeTheMemoryOfItsCapacity) {
  VerifiedTokens tokens(4096);
  EXPECT_EQ(tokens.capacity(), 4096U);
  size_t known = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const Hash128 name = Name("token" + std::to_string(i));
    tokens.Insert(name, {.proof = static_cast<uint64_t>(i), .from = 0, .until = 1000});
    ASSERT_EQ(tokens.Find(name, 1)->proof, static_cast<uint64_t>(i));
  }
  for (int i = 0; i < 1'000'000; ++i) {
    known += tokens.Find(Name("token" + std::to_string(i)), 1).has_value() ? 1 : 0;
  }
  EXPECT_EQ(known, tokens.capacity()) << "all places are taken, and no more";
}

TEST(SecretCompareTest, OnlyTheSecretIsEqual) {
  EXPECT_TRUE(EqualSecrets("s3cret", "s3cret"));
  EXPECT_TRUE(EqualSecrets("", ""));
  for (const std::string& other : {std::string(), std::string("s3cre"), std::string("s3cret "),
                                   std::string("S3cret"), std::string("s3cret\0", 7)}) {
    EXPECT_FALSE(EqualSecrets(other, "s3cret")) << other;
  }
}

}  // namespace
}  // namespace sluice::plugins
