#include "gateway/proxy/client_address.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string Find(std::string_view peer, std::vector<std::string> forwarded,
                 std::vector<std::string> trusted) {
  HeaderList fields;
  for (const std::string& value : forwarded) fields.Add("X-Forwarded-For", value);
  std::vector<Cidr> ranges;
  for (const std::string& range : trusted) ranges.push_back(*Cidr::Make(range));
  const IpAddress ip = peer.empty() ? IpAddress() : *IpAddress::Parse(peer);
  return FindClientAddress(ip, fields, ranges).ip.ToString();
}

TEST(ClientAddressTest, IsThePeerWhenNobodyIsTrusted) {
  EXPECT_EQ(Find("10.0.0.1", {"1.2.3.4"}, {}), "10.0.0.1");
  EXPECT_EQ(Find("10.0.0.1", {"1.2.3.4"}, {"192.168.0.0/16"}), "10.0.0.1");
}

TEST(ClientAddressTest, WalksFromTheRightPastTrustedProxies) {
  EXPECT_EQ(Find("10.0.0.1", {"6.6.6.6, 1.2.3.4, 10.0.0.2"}, {"10.0.0.0/8"}), "1.2.3.4");
  EXPECT_EQ(Find("10.0.0.1", {"6.6.6.6", "1.2.3.4", "10.0.0.2"}, {"10.0.0.0/8"}), "1.2.3.4");
}

TEST(ClientAddressTest, TakesTheLeftmostWhenAllAreTrusted) {
  EXPECT_EQ(Find("10.0.0.1", {"10.0.0.3, 10.0.0.2"}, {"10.0.0.0/8"}), "10.0.0.3");
}

TEST(ClientAddressTest, StopsAtAMalformedElement) {
  EXPECT_EQ(Find("10.0.0.1", {"1.2.3.4, nonsense, 10.0.0.2"}, {"10.0.0.0/8"}), "10.0.0.2");
  EXPECT_EQ(Find("10.0.0.1", {","}, {"10.0.0.0/8"}), "10.0.0.1");
}

TEST(ClientAddressTest, ReadsPortsAndBrackets) {
  EXPECT_EQ(Find("10.0.0.1", {"1.2.3.4:5678"}, {"10.0.0.0/8"}), "1.2.3.4");
  EXPECT_EQ(Find("10.0.0.1", {"[2001:db8::1]:5678"}, {"10.0.0.0/8"}), "2001:db8::1");
  EXPECT_EQ(Find("10.0.0.1", {"2001:db8::1"}, {"10.0.0.0/8"}), "2001:db8::1");
}

TEST(ClientAddressTest, TrustsAUnixPeerOnlyWhenProxiesAreConfigured) {
  EXPECT_EQ(Find("", {"1.2.3.4"}, {}), "");
  EXPECT_EQ(Find("", {"1.2.3.4"}, {"10.0.0.0/8"}), "1.2.3.4");
}

}  // namespace
}  // namespace sluice
