#include "gateway/base/address.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace sluice {
namespace {

using testing::HasSubstr;

IpAddress Ip(std::string_view text) {
  const auto ip = IpAddress::Parse(text);
  EXPECT_TRUE(ip.has_value()) << text;
  return ip.value_or(IpAddress());
}

TEST(IpAddressTest, ParsesAndPrints) {
  for (const char* text :
       {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::1:0:0:1", "fe80::1"}) {
    EXPECT_EQ(Ip(text).ToString(), text);
  }
  EXPECT_EQ(Ip("2001:0DB8:0:0:0:0:0:1").ToString(), "2001:db8::1");
  EXPECT_TRUE(Ip("1.2.3.4").is_v4());
  EXPECT_EQ(Ip("::1").size(), 16U);
}

TEST(IpAddressTest, MappedIsIpv4) {
  EXPECT_EQ(Ip("::ffff:10.1.2.3"), Ip("10.1.2.3"));
  EXPECT_EQ(Ip("::FFFF:0a01:0203").ToString(), "10.1.2.3");
  EXPECT_NE(Ip("::10.1.2.3"), Ip("10.1.2.3")) << "the deprecated compatible form is not mapped";
}

TEST(IpAddressTest, RefusesWhatIsNotExactlyAnAddress) {
  for (const std::string_view text :
       {"", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "0x7f.0.0.1",
        "127.1", ":::", "1::2::3", "fe80::1%eth0", "[::1]", "1.2.3.4/8", "localhost",
        "1234567890123456789012345678901234567890123456789"}) {
    EXPECT_EQ(IpAddress::Parse(text), std::nullopt) << text;
  }
  EXPECT_EQ(IpAddress::Parse(std::string_view("1.2.3.4\0x", 9)), std::nullopt);
}

TEST(IpAddressTest, NoneIsNoAddress) {
  EXPECT_TRUE(IpAddress().is_none());
  EXPECT_EQ(IpAddress().ToString(), "");
  EXPECT_NE(IpAddress(), Ip("0.0.0.0"));
}

Cidr Range(std::string_view text) {
  const auto range = Cidr::Make(text);
  EXPECT_TRUE(range.has_value()) << text;
  return range.value_or(Cidr());
}

TEST(CidrTest, ContainsItsAddressesOnly) {
  EXPECT_TRUE(Range("10.0.0.0/8").Contains(Ip("10.255.0.1")));
  EXPECT_FALSE(Range("10.0.0.0/8").Contains(Ip("11.0.0.0")));
  EXPECT_TRUE(Range("10.1.2.0/23").Contains(Ip("10.1.3.255")));
  EXPECT_FALSE(Range("10.1.2.0/23").Contains(Ip("10.1.4.0")));
  EXPECT_TRUE(Range("0.0.0.0/0").Contains(Ip("255.1.2.3")));
  EXPECT_TRUE(Range("192.0.2.7").Contains(Ip("192.0.2.7")));
  EXPECT_FALSE(Range("192.0.2.7").Contains(Ip("192.0.2.6")));
  EXPECT_TRUE(Range("2001:db8::/33").Contains(Ip("2001:db8:7fff::1")));
  EXPECT_FALSE(Range("2001:db8::/33").Contains(Ip("2001:db8:8000::1")));
  EXPECT_TRUE(Range("::1/128").Contains(Ip("::1")));
}

TEST(CidrTest, FamiliesDoNotMix) {
  EXPECT_FALSE(Range("::/0").Contains(Ip("1.2.3.4")));
  EXPECT_FALSE(Range("0.0.0.0/0").Contains(Ip("::1")));
  EXPECT_FALSE(Range("0.0.0.0/0").Contains(IpAddress()));
  EXPECT_FALSE(Cidr().Contains(IpAddress()));
}

TEST(CidrTest, MappedRangesAndClientsAreIpv4) {
  EXPECT_TRUE(Range("10.0.0.0/8").Contains(Ip("::ffff:10.1.2.3")));
  EXPECT_EQ(Range("::ffff:10.0.0.0/104").ToString(), "10.0.0.0/8");
  EXPECT_TRUE(Range("::ffff:10.0.0.0/104").Contains(Ip("10.1.2.3")));
  EXPECT_EQ(Range("::ffff:10.1.2.3").ToString(), "10.1.2.3/32");
  EXPECT_FALSE(Cidr::Make("::ffff:10.0.0.0/95").has_value()) << "more than IPv4";
}

TEST(CidrTest, ClearsHostBits) {
  EXPECT_EQ(Range("10.1.2.3/8").ToString(), "10.0.0.0/8");
  EXPECT_EQ(Range("10.1.2.3/0").ToString(), "0.0.0.0/0");
  EXPECT_EQ(Range("2001:db8:ffff::1/33").ToString(), "2001:db8:8000::/33");
}

TEST(CidrTest, RefusesWithWhatItGot) {
  for (const char* text : {"", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8",
                           "10.0.0.0/ 8", "10/8", "host/8"}) {
    const auto range = Cidr::Make(text);
    ASSERT_FALSE(range.has_value()) << text;
    EXPECT_THAT(range.error().detail, HasSubstr("got \"" + std::string(text) + "\""));
  }
}

TEST(SocketAddressTest, ParsesAndPrints) {
  for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "[::1]:65535", "[2001:db8::1]:443",
                           "unix:/run/sluice/http.sock"}) {
    const auto address = SocketAddress::Make(text);
    ASSERT_TRUE(address.has_value()) << address.error().detail;
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(SocketAddressTest, HasItsParts) {
  const SocketAddress v6 = *SocketAddress::Make("[2001:db8::1]:443");
  EXPECT_EQ(v6.family(), AF_INET6);
  EXPECT_EQ(v6.ip(), Ip("2001:db8::1"));
  EXPECT_EQ(v6.port(), 443);
  EXPECT_EQ(v6.raw_size(), sizeof(sockaddr_in6));
  EXPECT_EQ(v6.path(), "");
  const SocketAddress socket = *SocketAddress::Make("unix:/a b");
  EXPECT_TRUE(socket.is_unix());
  EXPECT_EQ(socket.path(), "/a b");
  EXPECT_TRUE(socket.ip().is_none());
  EXPECT_EQ(socket.port(), 0);
}

TEST(SocketAddressTest, RefusesWithWhatWasExpected) {
  for (const std::string_view text :
       {"", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+1", "::1:80", "[::1]",
        "[127.0.0.1]:80", "[]:80", "localhost:80", "unix:", ":80"}) {
    const auto address = SocketAddress::Make(text);
    ASSERT_FALSE(address.has_value()) << text;
    EXPECT_THAT(address.error().detail, HasSubstr("expected ")) << text;
  }
  EXPECT_FALSE(SocketAddress::Make(std::string_view("unix:/a\0b", 9)).has_value());
}

TEST(SocketAddressTest, PathMayFillTheStructure) {
  const std::string longest = "unix:/" + std::string(sizeof(sockaddr_un::sun_path) - 2, 'x');
  const auto address = SocketAddress::Make(longest);
  ASSERT_TRUE(address.has_value());
  EXPECT_EQ(address->ToString(), longest);
  EXPECT_FALSE(SocketAddress::Make(longest + "x").has_value());
}

TEST(SocketAddressTest, ReadsWhatTheKernelGives) {
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(80);
  mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
  mapped.sin6_addr.s6_addr[12] = 10;
  const auto* raw = reinterpret_cast<const sockaddr*>(&mapped);
  EXPECT_EQ(SocketAddress::FromRaw(raw, sizeof(mapped)).ToString(), "10.0.0.0:80");

  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  const auto* peer = reinterpret_cast<const sockaddr*>(&unnamed);
  EXPECT_EQ(SocketAddress::FromRaw(peer, sizeof(sa_family_t)).ToString(), "unix:");
}

TEST(SocketAddressTest, DefaultIsNothing) {
  const SocketAddress none;
  EXPECT_EQ(none.ToString(), "");
  EXPECT_FALSE(none.is_unix());
  EXPECT_TRUE(none.ip().is_none());
}

TEST(SocketAddressTest, ComparesByMeaning) {
  EXPECT_EQ(*SocketAddress::Make("[::ffff:1.2.3.4]:80"), *SocketAddress::Make("1.2.3.4:80"));
  EXPECT_FALSE(*SocketAddress::Make("1.2.3.4:81") == *SocketAddress::Make("1.2.3.4:80"));
}

}  // namespace
}  // namespace sluice
