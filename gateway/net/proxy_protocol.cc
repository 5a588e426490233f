#include "gateway/net/proxy_protocol.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include <sys/un.h>

#include "gateway/base/text.h"

namespace sluice {
namespace {

using std::string_view_literals::operator""sv;
using State = ProxyHeader::State;

constexpr std::string_view kSignatureV1 = "PROXY ";
constexpr std::string_view kSignatureV2 = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr size_t kFixedSizeV2 = 16;
constexpr size_t kUnixPathSize = 108;

// Second nibbles of the bytes 12 and 13, and types of TLVs.
enum Command : uint8_t { kLocal = 0, kProxy = 1 };
enum Family : uint8_t { kUnspecified = 0, kInet = 1, kInet6 = 2, kUnix = 3 };
enum Transport : uint8_t { kStream = 1, kDatagram = 2 };
enum TlvType : uint8_t { kAlpn = 1, kAuthority = 2, kCrc32c = 3, kUniqueId = 5, kSsl = 0x20 };

Error Broken(std::string detail) {
  return ClientError(ErrorCode::kMalformedRequest, "PROXY header: " + std::move(detail));
}

uint8_t ByteAt(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t NumberAt(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1));
}

// --- version 1 ----------------------------------------------------------------------------------

std::optional<uint16_t> ParsePort(std::string_view text) {
  const auto port = ParseDecimal(text);
  if (!port || *port > 65535 || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

std::optional<SocketAddress> ParseEndpoint(std::string_view ip, std::string_view port, bool v6) {
  if ((ip.find(':') != std::string_view::npos) != v6) return std::nullopt;
  const auto address = IpAddress::Parse(ip);
  const auto number = ParsePort(port);
  if (!address || !number) return std::nullopt;
  return SocketAddress::FromIp(*address, *number);
}

Result<ProxyHeader> ParseLine(std::string_view line, ProxyHeader header) {
  const std::vector<std::string_view> words = Split(line, ' ');
  const std::string_view protocol = words[1];
  if (protocol == "UNKNOWN") return header;
  const bool v6 = protocol == "TCP6";
  if (words.size() != 6 || (!v6 && protocol != "TCP4")) {
    return Broken("expected TCP4 or TCP6 with two addresses and two ports, or UNKNOWN");
  }
  const auto source = ParseEndpoint(words[2], words[4], v6);
  const auto destination = ParseEndpoint(words[3], words[5], v6);
  if (!source || !destination) {
    return Broken("expected addresses of the kind that " + std::string(protocol) +
                  " says, and ports from 0 to 65535");
  }
  header.has_addresses = true;
  header.source = *source;
  header.destination = *destination;
  return header;
}

Result<ProxyHeader> ParseV1(std::string_view received) {
  const std::string_view looked_at = received.substr(0, ProxyHeader::kMaxSizeV1);
  const size_t end = looked_at.find_first_of("\r\n");
  if (end == std::string_view::npos || end + 1 == looked_at.size()) {
    if (looked_at.size() == ProxyHeader::kMaxSizeV1) {
      return Broken("expected CRLF within 107 bytes");
    }
    if (end == std::string_view::npos || looked_at[end] == '\r') return ProxyHeader{};
  }
  if (looked_at.substr(end, 2) != "\r\n") return Broken("expected CRLF at the end of the line");
  ProxyHeader header;
  header.state = State::kComplete;
  header.size = end + 2;
  return ParseLine(looked_at.substr(0, end), header);
}

// --- version 2 ----------------------------------------------------------------------------------

// CRC-32C (Castagnoli), reflected, as RFC 3720 appendix B.4 describes it.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0);
    table[i] = value;
  }
  return table;
}();

uint32_t AddToCrc(uint32_t crc, std::string_view bytes) {
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return crc;
}

// The checksum covers the whole header, its own four bytes taken as zeros.
bool ChecksumMatches(std::string_view header, size_t at) {
  uint32_t crc = AddToCrc(0xffffffffU, header.substr(0, at));
  crc = AddToCrc(crc, "\0\0\0\0"sv);
  crc = ~AddToCrc(crc, header.substr(at + 4));
  const uint32_t sent = uint32_t{NumberAt(header, at)} << 16 | NumberAt(header, at + 2);
  return crc == sent;
}

struct SizeRange {
  size_t least;
  size_t most;
};

// What the protocol says about the size of a value; types that we do not know may have any.
SizeRange SizeOfValue(uint8_t type) {
  switch (type) {
    case kAlpn:
    case kAuthority:
      return {1, 255};
    case kCrc32c:
      return {4, 4};
    case kUniqueId:
      return {0, 128};
    case kSsl:
      return {5, 65535};  // client u8, verify u32, then TLVs
    default:
      return {0, 65535};
  }
}

// Walks the TLVs of `header` from `begin` on. TLVs inside a TLV (of SSL) are not `nested` deeper.
Status CheckTlvs(std::string_view header, size_t begin, size_t end, bool nested) {
  bool checksum_seen = false;
  for (size_t at = begin; at < end;) {
    if (end - at < 3) return Broken("a TLV is cut off in its head");
    const uint8_t type = ByteAt(header, at);
    const size_t size = NumberAt(header, at + 1);
    at += 3;
    const std::string name = "TLV of type " + std::to_string(type);
    if (size > end - at) {
      return Broken(name + " announces " + std::to_string(size) + " bytes, " +
                    std::to_string(end - at) + " are left");
    }
    const SizeRange allowed = nested ? SizeRange{0, 65535} : SizeOfValue(type);
    if (size < allowed.least || size > allowed.most) {
      return Broken(name + " has a value of " + std::to_string(size) + " bytes");
    }
    if (type == kSsl && !nested) SLUICE_TRY(CheckTlvs(header, at + 5, at + size, true));
    if (type == kCrc32c && !nested) {
      if (std::exchange(checksum_seen, true)) return Broken("two checksums");
      if (!ChecksumMatches(header, at)) return Broken("the checksum does not match");
    }
    at += size;
  }
  return {};
}

size_t AddressesSize(uint8_t family) {
  constexpr std::array<size_t, 4> kSizes = {0, 2 * (4 + 2), 2 * (16 + 2), 2 * kUnixPathSize};
  return kSizes[family];
}

SocketAddress IpAt(std::string_view header, size_t at, size_t size, size_t port_at) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(header.data() + at);
  return SocketAddress::FromIp(IpAddress::FromBytes(bytes, size), NumberAt(header, port_at));
}

// A path ends at its first zero byte; an abstract or empty one leaves an address without a path.
SocketAddress UnixAt(std::string_view header, size_t at) {
  sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  std::memcpy(raw.sun_path, header.data() + at, sizeof(raw.sun_path) - 1);
  return SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&raw), sizeof(raw));
}

void ReadAddresses(std::string_view header, uint8_t family, ProxyHeader& out) {
  out.has_addresses = true;
  const size_t at = kFixedSizeV2;
  if (family == kUnix) {
    out.source = UnixAt(header, at);
    out.destination = UnixAt(header, at + kUnixPathSize);
    return;
  }
  const size_t size = family == kInet ? 4 : 16;
  out.source = IpAt(header, at, size, at + 2 * size);
  out.destination = IpAt(header, at + size, size, at + 2 * size + 2);
}

Result<ProxyHeader> ParseV2(std::string_view received) {
  ProxyHeader header;
  if (received.size() > 12 && ByteAt(received, 12) >> 4 != 2) return Broken("expected version 2");
  if (received.size() < kFixedSizeV2) return header;
  const uint8_t command = ByteAt(received, 12) & 0xf;
  const uint8_t family = ByteAt(received, 13) >> 4;
  const uint8_t transport = ByteAt(received, 13) & 0xf;
  const size_t size = kFixedSizeV2 + NumberAt(received, 14);
  if (command > kProxy) return Broken("command " + std::to_string(command) + " does not exist");
  if (size > ProxyHeader::kMaxSizeV2) {
    return Broken(std::to_string(size) + " bytes; at most 4096 are taken");
  }
  if (received.size() < size) return header;
  header.state = State::kComplete;
  header.size = size;
  if (command == kLocal) return header;  // whatever follows has no meaning
  if (family > kUnix || transport > kDatagram) {
    return Broken("address family and transport " + std::to_string(ByteAt(received, 13)) +
                  " do not exist");
  }
  const std::string_view bytes = received.substr(0, size);
  const size_t tlvs = kFixedSizeV2 + AddressesSize(family);
  if (size < tlvs) return Broken("too short for the addresses of its family");
  SLUICE_TRY(CheckTlvs(bytes, tlvs, size, false));
  if (family != kUnspecified && transport == kStream) ReadAddresses(bytes, family, header);
  return header;
}

// --- writing ------------------------------------------------------------------------------------

std::string IpText(const IpAddress& ip, bool v6) {
  return v6 && ip.is_v4() ? "::ffff:" + ip.ToString() : ip.ToString();
}

void AppendNumber(std::string& out, uint16_t number) {
  out += static_cast<char>(number >> 8);
  out += static_cast<char>(number & 0xff);
}

void AppendIp(std::string& out, const IpAddress& ip, bool v6) {
  if (v6 && ip.is_v4()) out.append(10, '\0').append("\xff\xff");
  out.append(reinterpret_cast<const char*>(ip.bytes()), ip.size());
}

}  // namespace

Result<ProxyHeader> ParseProxyHeader(std::string_view received) {
  for (const std::string_view signature : {kSignatureV1, kSignatureV2}) {
    const size_t compared = std::min(received.size(), signature.size());
    if (received.substr(0, compared) != signature.substr(0, compared)) continue;
    if (compared < signature.size()) return ProxyHeader{};
    return signature == kSignatureV1 ? ParseV1(received) : ParseV2(received);
  }
  ProxyHeader absent;
  absent.state = State::kAbsent;
  return absent;
}

std::string WriteProxyHeader(int version, const SocketAddress& source,
                             const SocketAddress& destination) {
  const IpAddress from = source.ip();
  const IpAddress to = destination.ip();
  const bool known = !from.is_none() && !to.is_none();
  const bool v6 = !from.is_v4() || !to.is_v4();
  std::string out;
  if (version == 1) {
    if (!known) return "PROXY UNKNOWN\r\n";
    out = v6 ? "PROXY TCP6 " : "PROXY TCP4 ";
    out += IpText(from, v6) + " " + IpText(to, v6) + " " + std::to_string(source.port()) + " " +
           std::to_string(destination.port()) + "\r\n";
    return out;
  }
  out = kSignatureV2;
  out += static_cast<char>(0x20 | kProxy);
  const uint8_t family = v6 ? kInet6 : kInet;
  out += static_cast<char>(known ? family << 4 | kStream : kUnspecified);
  AppendNumber(out, static_cast<uint16_t>(known ? AddressesSize(family) : 0));
  if (!known) return out;
  AppendIp(out, from, v6);
  AppendIp(out, to, v6);
  AppendNumber(out, source.port());
  AppendNumber(out, destination.port());
  return out;
}

}  // namespace sluice
