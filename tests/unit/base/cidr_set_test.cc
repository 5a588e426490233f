#include "gateway/base/cidr_set.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

CidrSet Set(const std::vector<std::string>& texts) {
  std::vector<Cidr> ranges;
  for (const std::string& text : texts) ranges.push_back(Cidr::Make(text).value());
  return CidrSet(ranges);
}

bool Holds(const CidrSet& set, const char* address) {
  return set.Contains(IpAddress::Parse(address).value());
}

TEST(CidrSetTest, AnEmptySetHoldsNothing) {
  EXPECT_TRUE(CidrSet().empty());
  EXPECT_FALSE(Holds(CidrSet(), "0.0.0.0"));
  EXPECT_FALSE(Holds(CidrSet(), "::"));
  EXPECT_FALSE(Set({"0.0.0.0/0", "::/0"}).Contains(IpAddress()));
}

TEST(CidrSetTest, HoldsTheFirstAndTheLastAddressOfARange) {
  const CidrSet set = Set({"10.1.0.0/16", "192.168.7.9", "2001:db8::/33", "::1"});
  for (const char* in : {"10.1.0.0", "10.1.255.255", "192.168.7.9", "2001:db8::", "::1",
                         "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.1.2.3"}) {
    EXPECT_TRUE(Holds(set, in)) << in;
  }
  for (const char* out : {"10.0.255.255", "10.2.0.0", "192.168.7.8", "192.168.7.10", "::", "::2",
                          "2001:db8:8000::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"}) {
    EXPECT_FALSE(Holds(set, out)) << out;
  }
}

TEST(CidrSetTest, AllOfOneFamilyIsNothingOfTheOther) {
  EXPECT_TRUE(Holds(Set({"0.0.0.0/0"}), "255.255.255.255"));
  EXPECT_TRUE(Holds(Set({"0.0.0.0/0"}), "::ffff:1.2.3.4"));
  EXPECT_FALSE(Holds(Set({"0.0.0.0/0"}), "::1"));
  EXPECT_TRUE(Holds(Set({"::/0"}), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
  EXPECT_FALSE(Holds(Set({"::/0"}), "1.2.3.4"));
}

TEST(CidrSetTest, NeighboursAndNestedRangesAreOne) {
  EXPECT_EQ(Set({"10.0.0.0/9", "10.128.0.0/9", "10.3.0.0/16", "10.3.0.0/16"}).size(), 1U);
  EXPECT_EQ(Set({"255.255.255.255", "255.255.255.254", "0.0.0.0"}).size(), 2U);
  EXPECT_EQ(Set({"::/1", "8000::/1", "ffff::/16"}).size(), 1U);
  EXPECT_EQ(Set({"10.0.0.0/24", "10.0.2.0/24"}).size(), 2U);
}

// Few distinct bytes, so that ranges overlap and addresses fall near their borders.
IpAddress RandomAddress(std::mt19937& random, bool v4) {
  uint8_t bytes[16];
  for (uint8_t& byte : bytes) {
    constexpr uint8_t kBytes[] = {0, 1, 127, 128, 254, 255};
    byte = kBytes[random() % std::size(kBytes)];
  }
  return IpAddress::FromBytes(bytes, v4 ? 4 : 16);
}

TEST(CidrSetTest, AgreesWithAskingEveryRange) {
  std::mt19937 random(7);
  size_t held = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<Cidr> ranges;
    for (size_t i = random() % 40; i > 0; --i) {
      const bool v4 = random() % 2 == 0;
      const size_t prefix = random() % (v4 ? 33 : 129);
      ranges.push_back(
          Cidr::Make(RandomAddress(random, v4).ToString() + "/" + std::to_string(prefix)).value());
    }
    const CidrSet set(ranges);
    for (int i = 0; i < 300; ++i) {
      const IpAddress address = RandomAddress(random, random() % 2 == 0);
      const bool expected = std::any_of(ranges.begin(), ranges.end(),
                                        [&](const Cidr& cidr) { return cidr.Contains(address); });
      ASSERT_EQ(set.Contains(address), expected) << address.ToString();
      held += expected ? 1 : 0;
    }
  }
  EXPECT_GT(held, 1000U) << "both answers were asked for";
}

TEST(CidrSetTest, AHundredThousandRangesTakeLittleMemory) {
  std::mt19937 random(3);
  std::vector<Cidr> ranges;
  for (int i = 0; i < 100'000; ++i) {
    uint8_t bytes[16];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const bool v4 = i % 2 == 0;
    const std::string text = IpAddress::FromBytes(bytes, v4 ? 4 : 16).ToString();
    ranges.push_back(Cidr::Make(text + (v4 ? "/28" : "/56")).value());
  }
  const CidrSet set(ranges);
  EXPECT_GT(set.size(), 99'000U);
  EXPECT_LE(set.memory(), 100'000U * 36 + 512);
  for (const Cidr& range : ranges) ASSERT_TRUE(set.Contains(range.base()));
}

}  // namespace
}  // namespace sluice
