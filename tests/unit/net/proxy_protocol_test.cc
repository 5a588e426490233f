#include "gateway/net/proxy_protocol.h"

#include <cstdint>
#include <ostream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::string_literals::operator""s;
using State = ProxyHeader::State;
using testing::HasSubstr;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

std::string Number16(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string V2(char version_command, char family, const std::string& rest) {
  return kSignature + version_command + family + Number16(rest.size()) + rest;
}

std::string Tlv(char type, const std::string& value) {
  return std::string(1, type) + Number16(value.size()) + value;
}

// 192.0.2.1:4711 to 198.51.100.7:443
const std::string kInetAddresses = "\xc0\x00\x02\x01\xc6\x33\x64\x07\x12\x67\x01\xbb"s;

std::string WithTlvs(const std::string& tlvs) { return V2('\x21', '\x11', kInetAddresses + tlvs); }

// Bit by bit, unlike the parser's.
std::string Crc32c(const std::string& bytes) {
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (0x82f63b78U & (0U - (crc & 1)));
  }
  crc = ~crc;
  return Number16(crc >> 16) + Number16(crc & 0xffff);
}

struct Refusal {
  std::string name;
  std::string header;
  std::string reason;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

struct Good {
  std::string name;
  std::string header;
  std::string source, destination;  // empty: the header says nothing about them
};

void PrintTo(const Good& good, std::ostream* out) { *out << good.name; }

std::string Padded(const std::string& path) { return path + std::string(108 - path.size(), '\0'); }

const std::vector<Good>& GoodHeaders() {
  static const std::string with_crc = [] {
    const std::string unsigned_header = WithTlvs(Tlv(3, std::string(4, '\0')) + Tlv(4, "abc"));
    return WithTlvs(Tlv(3, Crc32c(unsigned_header)) + Tlv(4, "abc"));
  }();
  static const std::string ssl = Tlv(0x20, "\x01\0\0\0\0"s + Tlv(0x21, "TLSv1.3") + Tlv(0x22, "x"));
  static const std::vector<Good> headers = {
      {"Tcp4", "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n", "192.0.2.1:4711",
       "198.51.100.7:443"},
      {"Tcp6", "PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", "[2001:db8::1]:65535", "[::1]:0"},
      {"Tcp6Mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 2\r\n", "192.0.2.1:1",
       "198.51.100.7:2"},
      {"Unknown", "PROXY UNKNOWN\r\n", "", ""},
      {"UnknownWithMore", "PROXY UNKNOWN some thing 1 2 3\r\n", "", ""},
      {"LongestLine", "PROXY UNKNOWN " + std::string(91, 'x') + "\r\n", "", ""},
      {"Local", V2('\x20', '\0', ""), "", ""},
      {"LocalWithJunk", V2('\x20', '\x77', "junk"), "", ""},
      {"Unspecified", V2('\x21', '\0', ""), "", ""},
      {"UnspecifiedWithTlv", V2('\x21', '\0', Tlv(4, "")), "", ""},
      {"Inet", V2('\x21', '\x11', kInetAddresses), "192.0.2.1:4711", "198.51.100.7:443"},
      {"InetDatagram", V2('\x21', '\x12', kInetAddresses), "", ""},
      {"Inet6",
       V2('\x21', '\x21',
          std::string(15, '\0') + "\x01" + std::string(15, '\0') + "\x02\x12\x67\0\x50"s),
       "[::1]:4711", "[::2]:80"},
      {"UnixPaths", V2('\x21', '\x31', Padded("/run/a") + Padded("/run/b")), "unix:/run/a",
       "unix:/run/b"},
      {"UnixWithoutPath", V2('\x21', '\x31', Padded("") + Padded("")), "unix:", "unix:"},
      {"Tlvs", WithTlvs(Tlv(1, "h2") + Tlv(2, "a.test") + Tlv(5, "id") + Tlv('\xee', "") + ssl),
       "192.0.2.1:4711", "198.51.100.7:443"},
      {"Checksum", with_crc, "192.0.2.1:4711", "198.51.100.7:443"},
      {"Longest", WithTlvs(Tlv(4, std::string(4096 - 16 - 12 - 3, '\0'))), "192.0.2.1:4711",
       "198.51.100.7:443"},
  };
  return headers;
}

class ProxyHeaderTest : public testing::TestWithParam<Good> {};

INSTANTIATE_TEST_SUITE_P(All, ProxyHeaderTest, testing::ValuesIn(GoodHeaders()),
                         [](const auto& test) { return test.param.name; });

TEST_P(ProxyHeaderTest, SaysWhoTheClientIs) {
  for (const std::string& behind : {""s, "GET / HTTP/1.1\r\n\r\n"s, "\x16\x03\x01"s}) {
    const auto header = ParseProxyHeader(GetParam().header + behind);
    ASSERT_TRUE(header.has_value()) << header.error().detail;
    ASSERT_EQ(header->state, State::kComplete);
    EXPECT_EQ(header->size, GetParam().header.size());
    EXPECT_EQ(header->has_addresses, !GetParam().source.empty());
    EXPECT_EQ(header->source.ToString(), GetParam().source);
    EXPECT_EQ(header->destination.ToString(), GetParam().destination);
  }
}

TEST_P(ProxyHeaderTest, IsWaitedForByteByByte) {
  const std::string& bytes = GetParam().header;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto header = ParseProxyHeader(std::string_view(bytes).substr(0, size));
    ASSERT_TRUE(header.has_value()) << size << ": " << header.error().detail;
    EXPECT_EQ(header->state, State::kNeedMore) << size;
  }
}

const std::vector<Refusal>& Refusals() {
  static const std::string expected_line = "expected TCP4 or TCP6";
  static const std::string expected_addresses = "expected addresses of the kind";
  static const std::vector<Refusal> refusals = {
      {"Protocol", "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", expected_line},
      {"LowerCaseProtocol", "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", expected_line},
      {"NoProtocol", "PROXY \r\n", expected_line},
      {"TooFewWords", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", expected_line},
      {"TooManyWords", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", expected_line},
      {"TwoSpaces", "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", expected_line},
      {"Tcp4WithV6", "PROXY TCP4 ::1 ::1 1 2\r\n", expected_addresses},
      {"Tcp6WithV4", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", expected_addresses},
      {"BrokenAddress", "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", expected_addresses},
      {"PortTooLarge", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", expected_addresses},
      {"PortWithZero", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", expected_addresses},
      {"PortWithSign", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", expected_addresses},
      {"NoPort", "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", expected_addresses},
      {"BareLineFeed", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "expected CRLF"},
      {"BareCarriageReturn", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", "expected CRLF"},
      {"LineTooLong", "PROXY UNKNOWN " + std::string(92, 'x') + "\r\n", "within 107 bytes"},
      {"EndlessLine", "PROXY UNKNOWN " + std::string(93, 'x'), "within 107 bytes"},
      {"Version1InBinary", kSignature + "\x11\x11" + Number16(0), "expected version 2"},
      {"Version3", kSignature + "\x31", "expected version 2"},
      {"CommandTwo", V2('\x22', '\x11', kInetAddresses), "command 2"},
      {"FamilyFour", V2('\x21', '\x41', kInetAddresses), "do not exist"},
      {"TransportThree", V2('\x21', '\x13', kInetAddresses), "do not exist"},
      {"ShortAddresses", V2('\x21', '\x11', kInetAddresses.substr(1)), "too short"},
      {"TooLong", kSignature + "\x21\x11" + Number16(4081), "4097 bytes"},
      {"TlvWithoutSize", WithTlvs("\x04\0"s), "cut off"},
      {"TlvTooLong", WithTlvs("\x04\0\x03xx"s), "announces 3 bytes, 2 are left"},
      {"AlpnEmpty", WithTlvs(Tlv(1, "")), "type 1 has a value of 0"},
      {"AuthorityTooLong", WithTlvs(Tlv(2, std::string(256, 'a'))), "type 2 has a value of 256"},
      {"UniqueIdTooLong", WithTlvs(Tlv(5, std::string(129, 'a'))), "type 5 has a value of 129"},
      {"SslTooShort", WithTlvs(Tlv(0x20, "\x01\0\0\0"s)), "type 32 has a value of 4"},
      {"SslWithBrokenTlv", WithTlvs(Tlv(0x20, "\x01\0\0\0\0\x21\0\x09x"s)), "announces 9 bytes"},
      {"ChecksumTooShort", WithTlvs(Tlv(3, "abc")), "type 3 has a value of 3"},
      {"WrongChecksum", WithTlvs(Tlv(3, "abcd")), "checksum does not match"},
  };
  return refusals;
}

class ProxyHeaderRefusalTest : public testing::TestWithParam<Refusal> {};

INSTANTIATE_TEST_SUITE_P(All, ProxyHeaderRefusalTest, testing::ValuesIn(Refusals()),
                         [](const auto& test) { return test.param.name; });

TEST_P(ProxyHeaderRefusalTest, NamesWhatIsWrong) {
  const auto header = ParseProxyHeader(GetParam().header);
  ASSERT_FALSE(header.has_value());
  EXPECT_THAT(header.error().detail, HasSubstr(GetParam().reason));
  EXPECT_EQ(header.error().side, ErrorSide::kClient);
}

TEST_P(ProxyHeaderRefusalTest, IsNeverTakenForAnother) {
  const std::string& bytes = GetParam().header;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto header = ParseProxyHeader(std::string_view(bytes).substr(0, size));
    EXPECT_TRUE(!header.has_value() || header->state == State::kNeedMore) << size;
  }
}

TEST(ProxyProtocolTest, KnowsWhatIsNoHeader) {
  for (const std::string& other : {"GET / HTTP/1.1\r\n"s, "PRI * HTTP/2.0\r\n"s, "PROXYX"s, "POST"s,
                                   "\r\n\r\nGET"s, "\x16\x03\x01"s, "proxy TCP4"s, "\0"s}) {
    const auto header = ParseProxyHeader(other);
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->state, State::kAbsent) << other;
  }
}

TEST(ProxyProtocolTest, RefusesASecondChecksum) {
  // A forger may give the second any value only if the first were the only one checked.
  std::string header = WithTlvs(Tlv(3, std::string(4, '\0')) + Tlv(3, "abcd"));
  const std::string crc = Crc32c(header);
  header.replace(16 + 12 + 3, 4, crc);
  const auto parsed = ParseProxyHeader(header);
  ASSERT_FALSE(parsed.has_value());
  EXPECT_THAT(parsed.error().detail, HasSubstr("two checksums"));
}

TEST(ProxyProtocolTest, KnowsTheChecksumOfTheStandard) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), "\x8a\x91\x36\xaa"s);  // RFC 3720 B.4
}

TEST(ProxyProtocolTest, NoticesEveryFlippedBitBehindTheLength) {
  std::string header = WithTlvs(Tlv(3, std::string(4, '\0')));
  header.replace(header.size() - 4, 4, Crc32c(header));
  ASSERT_TRUE(ParseProxyHeader(header).has_value());
  for (size_t at = 16; at < header.size(); ++at) {
    if (at >= 28 && at < 31) continue;  // the TLV's head: it is another one then
    for (int bit = 0; bit < 8; ++bit) {
      std::string broken = header;
      broken[at] = static_cast<char>(broken[at] ^ (1 << bit));
      EXPECT_FALSE(ParseProxyHeader(broken).has_value()) << at;
    }
  }
}

SocketAddress At(std::string_view text) { return SocketAddress::Make(text).value(); }

TEST(ProxyProtocolTest, WritesWhatTheStandardShows) {
  EXPECT_EQ(WriteProxyHeader(1, At("192.0.2.1:4711"), At("198.51.100.7:443")),
            "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n");
  EXPECT_EQ(WriteProxyHeader(2, At("192.0.2.1:4711"), At("198.51.100.7:443")),
            V2('\x21', '\x11', kInetAddresses));
  EXPECT_EQ(WriteProxyHeader(1, At("192.0.2.1:1"), At("[::1]:2")),
            "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
  EXPECT_EQ(WriteProxyHeader(1, At("unix:/a"), At("[::1]:2")), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(WriteProxyHeader(2, At("unix:/a"), At("[::1]:2")), V2('\x21', '\0', ""));
  EXPECT_EQ(WriteProxyHeader(2, SocketAddress(), At("[::1]:2")), V2('\x21', '\0', ""));
}

TEST(ProxyProtocolTest, ReadsWhatItWrites) {
  const std::string longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
  for (const int version : {1, 2}) {
    for (const std::string& source : {"192.0.2.1:4711"s, "[2001:db8::1]:0"s, longest}) {
      for (const std::string& destination : {"198.51.100.7:443"s, "[::]:1"s, longest}) {
        const std::string bytes = WriteProxyHeader(version, At(source), At(destination));
        const auto header = ParseProxyHeader(bytes);
        ASSERT_TRUE(header.has_value()) << header.error().detail;
        ASSERT_EQ(header->state, State::kComplete);
        EXPECT_EQ(header->size, bytes.size());
        EXPECT_EQ(header->source.ToString(), source);
        EXPECT_EQ(header->destination.ToString(), destination);
      }
    }
  }
}

}  // namespace
}  // namespace sluice
