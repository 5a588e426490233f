#include "plugins/support/forwarded_address.h"

#include <vector>

#include <gtest/gtest.h>

namespace sluice::plugins {
namespace {

std::string Parse(std::string_view text) {
  const auto address = ParseForwardedAddress(text);
  return address ? address->ip.ToString() + " " + std::to_string(address->port) : "none";
}

TEST(ForwardedAddressTest, FormsThatAreUsed) {
  EXPECT_EQ(Parse("10.0.0.1"), "10.0.0.1 0");
  EXPECT_EQ(Parse(" 10.0.0.1\t"), "10.0.0.1 0");
  EXPECT_EQ(Parse("10.0.0.1:80"), "10.0.0.1 80");
  EXPECT_EQ(Parse("2001:db8::1"), "2001:db8::1 0");
  EXPECT_EQ(Parse("[2001:db8::1]"), "2001:db8::1 0");
  EXPECT_EQ(Parse("[2001:db8::1]:65535"), "2001:db8::1 65535");
  EXPECT_EQ(Parse("::ffff:10.0.0.1"), "10.0.0.1 0");
}

TEST(ForwardedAddressTest, WhatIsNoAddress) {
  for (const char* none : {"",
                           " ",
                           "unknown",
                           "_hidden",
                           "localhost",
                           "10.0.0",
                           "10.0.0.256",
                           "10.0.0.1:",
                           "10.0.0.1:0",
                           "10.0.0.1:65536",
                           "10.0.0.1:8a",
                           "10.0.0.1 80",
                           "[10.0.0.1]",
                           "[::1",
                           "[::1]80",
                           "[::1]:",
                           "[]",
                           ":80",
                           "10.0.0.1,10.0.0.2",
                           "\"10.0.0.1\"",
                           "10.0.0.1\r\n"}) {
    EXPECT_EQ(Parse(none), "none") << none;
  }
}

TEST(ForwardedAddressTest, TheLastOfAList) {
  EXPECT_EQ(FindInList("1.1.1.1, 2.2.2.2:8", nullptr),
            (ForwardedAddress{*IpAddress::Parse("2.2.2.2"), 8}));
  EXPECT_EQ(FindInList("1.1.1.1,", nullptr), std::nullopt);
  EXPECT_EQ(FindInList("", nullptr), std::nullopt);
}

TEST(ForwardedAddressTest, TheLastThatIsNotTrusted) {
  const std::vector<Cidr> ranges = {Cidr::Make("10.0.0.0/8").value()};
  const CidrSet trusted(ranges);
  const auto find = [&](std::string_view list) {
    const auto found = FindInList(list, &trusted);
    return found ? found->ip.ToString() : "none";
  };
  EXPECT_EQ(find("6.6.6.6, 1.1.1.1, 10.0.0.1, 10.0.0.2:80"), "1.1.1.1");
  EXPECT_EQ(find("10.0.0.1, 10.0.0.2"), "10.0.0.1");
  EXPECT_EQ(find("1.1.1.1"), "1.1.1.1");
  EXPECT_EQ(find("1.1.1.1, nonsense, 10.0.0.2"), "none");
}

}  // namespace
}  // namespace sluice::plugins
