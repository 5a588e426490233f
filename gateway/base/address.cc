#include "gateway/base/address.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "gateway/base/text.h"

namespace sluice {
namespace {

constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// The address with everything after its first `prefix` bits cleared.
IpAddress Masked(const IpAddress& ip, uint64_t prefix) {
  std::array<uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), ip.bytes(), ip.size());
  for (size_t i = 0; i < ip.size(); ++i) {
    const uint64_t kept = prefix > i * 8 ? std::min<uint64_t>(prefix - i * 8, 8) : 0;
    bytes[i] = static_cast<uint8_t>(bytes[i] & (0xff00U >> kept));
  }
  return IpAddress::FromBytes(bytes.data(), ip.size());
}

}  // namespace

IpAddress IpAddress::FromBytes(const uint8_t* bytes, size_t size) {
  IpAddress address;
  if (size == 16 && std::memcmp(bytes, kMappedPrefix.data(), kMappedPrefix.size()) == 0) {
    bytes += kMappedPrefix.size();
    size = 4;
  }
  std::memcpy(address.bytes_.data(), bytes, size);
  address.size_ = static_cast<uint8_t>(size);
  return address;
}

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof(buffer)) return std::nullopt;
  if (text.find('\0') != std::string_view::npos) return std::nullopt;  // would end the C string
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  uint8_t bytes[16];
  if (inet_pton(AF_INET, buffer, bytes) == 1) return FromBytes(bytes, 4);
  if (inet_pton(AF_INET6, buffer, bytes) == 1) return FromBytes(bytes, 16);
  return std::nullopt;
}

std::string IpAddress::ToString() const {
  std::string out;
  AppendTo(out);
  return out;
}

void IpAddress::AppendTo(std::string& out) const {
  if (is_none()) return;
  if (is_v4()) {  // inet_ntop goes through sprintf, ten times as long
    char text[16];
    char* end = text;
    for (size_t i = 0; i < 4; ++i) {
      end = std::to_chars(end, text + sizeof(text), bytes_[i]).ptr;
      *end++ = '.';
    }
    out.append(text, end - 1);  // without the last dot
    return;
  }
  char buffer[INET6_ADDRSTRLEN];
  out += inet_ntop(AF_INET6, bytes_.data(), buffer, sizeof(buffer));
}

Result<Cidr> Cidr::Make(std::string_view text) {
  const size_t slash = text.find('/');
  const auto ip = IpAddress::Parse(text.substr(0, slash));
  const auto fail = [&] {
    return GatewayError(
        ErrorCode::kInvalidConfig,
        "expected an IP address or a range as 10.0.0.0/8, got \"" + std::string(text) + "\"");
  };
  if (!ip) return fail();
  Cidr range;
  const uint64_t bits = ip->size() * 8;
  // A mapped range (::ffff:10.0.0.0/104) counts the 96 bits of the mapping too.
  const bool mapped = ip->is_v4() && text.substr(0, slash).find(':') != std::string_view::npos;
  const uint64_t extra = mapped ? 96 : 0;
  uint64_t prefix = bits;
  if (slash != std::string_view::npos) {
    const auto number = ParseDecimal(text.substr(slash + 1));
    if (!number || *number < extra || *number > bits + extra) return fail();
    prefix = *number - extra;
  }
  range.prefix_ = static_cast<uint8_t>(prefix);
  range.base_ = Masked(*ip, prefix);
  return range;
}

bool Cidr::Contains(const IpAddress& address) const {
  if (address.is_none() || address.size() != base_.size()) return false;
  const size_t whole = prefix_ / 8;
  if (std::memcmp(address.bytes(), base_.bytes(), whole) != 0) return false;
  const int rest = prefix_ % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return (address.bytes()[whole] & mask) == (base_.bytes()[whole] & mask);
}

std::string Cidr::ToString() const { return base_.ToString() + "/" + std::to_string(prefix_); }

SocketAddress SocketAddress::FromRaw(const sockaddr* address, socklen_t size) {
  SocketAddress out;
  out.size_ = std::min<socklen_t>(size, static_cast<socklen_t>(out.storage_.size() - 1));
  std::memcpy(out.storage_.data(), address, out.size_);
  return out;
}

SocketAddress SocketAddress::FromIp(const IpAddress& ip, uint16_t port) {
  if (ip.is_v4()) {
    sockaddr_in raw{};
    raw.sin_family = AF_INET;
    raw.sin_port = htons(port);
    std::memcpy(&raw.sin_addr, ip.bytes(), 4);
    return FromRaw(reinterpret_cast<const sockaddr*>(&raw), sizeof(raw));
  }
  sockaddr_in6 raw{};
  raw.sin6_family = AF_INET6;
  raw.sin6_port = htons(port);
  std::memcpy(&raw.sin6_addr, ip.bytes(), 16);
  return FromRaw(reinterpret_cast<const sockaddr*>(&raw), sizeof(raw));
}

Result<SocketAddress> SocketAddress::Make(std::string_view text) {
  const auto fail = [&](std::string_view expected) {
    return GatewayError(ErrorCode::kInvalidConfig, "expected " + std::string(expected) +
                                                       ", got \"" + std::string(text) + "\"");
  };
  if (text.starts_with("unix:")) {
    const std::string_view path = text.substr(5);
    sockaddr_un raw{};
    raw.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(raw.sun_path) ||
        path.find('\0') != std::string_view::npos) {
      return fail("unix: and a path of 1 to 107 bytes");
    }
    std::memcpy(raw.sun_path, path.data(), path.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return FromRaw(reinterpret_cast<const sockaddr*>(&raw), size);
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return fail("ADDRESS:PORT or unix:PATH");
  std::string_view host = text.substr(0, colon);
  const auto port = ParseDecimal(text.substr(colon + 1));
  if (!port || *port > 65535) return fail("a port from 0 to 65535 after the colon");
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto ip = IpAddress::Parse(host);
  if (!ip || (host.find(':') != std::string_view::npos) != bracketed) {
    return fail("an IPv4 address or an IPv6 address in brackets before the port");
  }
  return FromIp(*ip, static_cast<uint16_t>(*port));
}

IpAddress SocketAddress::ip() const {
  if (family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage_);
    return IpAddress::FromBytes(reinterpret_cast<const uint8_t*>(&in->sin_addr), 4);
  }
  if (family() == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&storage_);
    return IpAddress::FromBytes(reinterpret_cast<const uint8_t*>(&in6->sin6_addr), 16);
  }
  return {};
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  }
  return 0;
}

std::string_view SocketAddress::path() const {
  if (!is_unix()) return {};
  return reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path;
}

std::string SocketAddress::ToString() const {
  if (size_ == 0) return {};
  if (is_unix()) return "unix:" + std::string(path());
  const std::string host = ip().ToString();
  const std::string number = std::to_string(port());
  return ip().is_v4() ? host + ":" + number : "[" + host + "]:" + number;
}

}  // namespace sluice
