#include "gateway/base/text.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;

TEST(TextTest, EqualsIgnoresAsciiCaseOnly) {
  EXPECT_TRUE(EqualsIgnoreCase("Content-Length", "cONTENT-lENGTH"));
  EXPECT_TRUE(EqualsIgnoreCase("", ""));
  EXPECT_FALSE(EqualsIgnoreCase("a", "ab"));
  EXPECT_FALSE(EqualsIgnoreCase("[", "{")) << "differ by the bit that tells the cases apart";
  EXPECT_FALSE(EqualsIgnoreCase("\xc3\x84", "\xc3\xa4"));
}

TEST(TextTest, ToLowerTouchesLettersOnly) {
  EXPECT_EQ(ToLower("AZaz@[`{09\xc4"), "azaz@[`{09\xc4");
}

TEST(TextTest, HexValueKnowsBothCases) {
  EXPECT_EQ(HexValue('0'), 0);
  EXPECT_EQ(HexValue('f'), 15);
  EXPECT_EQ(HexValue('A'), 10);
  for (const char c : {'g', 'G', '/', ':', '@', '`', '\0', '\xff'}) EXPECT_EQ(HexValue(c), -1);
}

TEST(TextTest, TrimOwsKeepsOtherSpace) {
  EXPECT_EQ(TrimOws(" \t a b\t "), "a b");
  EXPECT_EQ(TrimOws("\ra\n"), "\ra\n");
  EXPECT_EQ(TrimOws("  \t"), "");
  EXPECT_EQ(TrimOws(""), "");
}

TEST(TextTest, ParseDecimalTakesDigitsOnly) {
  EXPECT_EQ(ParseDecimal("0"), 0U);
  EXPECT_EQ(ParseDecimal("007"), 7U);
  EXPECT_EQ(ParseDecimal("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  for (const char* text : {"", "+1", "-1", " 1", "1 ", "1x", "0x10", "1.0", "18446744073709551616",
                           "99999999999999999999999"}) {
    EXPECT_EQ(ParseDecimal(text), std::nullopt) << text;
  }
}

TEST(TextTest, SplitKeepsEmptyParts) {
  EXPECT_THAT(Split("a,,b", ','), ElementsAre("a", "", "b"));
  EXPECT_THAT(Split("", ','), ElementsAre(""));
  EXPECT_THAT(Split(",", ','), ElementsAre("", ""));
  EXPECT_THAT(Split("a/b", ','), ElementsAre("a/b"));
}

TEST(TextTest, ListContainsComparesWholeMembers) {
  EXPECT_TRUE(ListContains("keep-alive, Upgrade", "upgrade"));
  EXPECT_TRUE(ListContains("close", "close"));
  EXPECT_TRUE(ListContains(",\t close ,", "close"));
  EXPECT_FALSE(ListContains("closed, unclose", "close"));
  EXPECT_FALSE(ListContains("", "close"));
}

TEST(TextTest, AppendDecimalAppends) {
  std::string out = "n=";
  AppendDecimal(out, 0);
  AppendDecimal(out, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(out, "n=018446744073709551615");
}

TEST(TextTest, PlainLengthStopsAtWhatNeedsAnEscape) {
  EXPECT_EQ(PlainLength("GET /a?b=~ HTTP/1.1"), 19U);
  EXPECT_EQ(PlainLength(""), 0U);
  for (const char c : {'"', '\\', '\n', '\0', '\x1f', '\x7f', '\x80', '\xff'}) {
    EXPECT_EQ(PlainLength(std::string("ab") + c + "d"), 2U);
  }
}

TEST(TextTest, EditDistanceHasALimit) {
  EXPECT_EQ(EditDistance("route", "route", 2), 0U);
  EXPECT_EQ(EditDistance("rout", "route", 2), 1U);
  EXPECT_EQ(EditDistance("uri", "uris", 2), 1U);
  EXPECT_EQ(EditDistance("kitten", "sitting", 5), 3U);
  EXPECT_EQ(EditDistance("kitten", "sitting", 2), 3U);
  EXPECT_EQ(EditDistance("a", "abcdefgh", 2), 3U);
  EXPECT_EQ(EditDistance("", "", 0), 0U);
  EXPECT_EQ(EditDistance("", "ab", 2), 2U);
}

}  // namespace
}  // namespace sluice
