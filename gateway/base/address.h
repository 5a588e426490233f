// IP addresses, CIDR ranges and socket addresses (IPv4, IPv6, UNIX path) as small values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <sys/socket.h>

#include "gateway/base/result.h"

namespace sluice {

// An IPv4 or IPv6 address; IPv4-mapped IPv6 is stored as IPv4, so that rules cannot be
// side-stepped.
class IpAddress {
 public:
  IpAddress() = default;  // none()
  static std::optional<IpAddress> Parse(std::string_view text);
  static IpAddress FromBytes(const uint8_t* bytes, size_t size);  // 4 or 16

  bool is_none() const { return size_ == 0; }
  bool is_unspecified() const { return size_ != 0 && bytes_ == decltype(bytes_)(); }  // 0.0.0.0, ::
  bool is_v4() const { return size_ == 4; }
  size_t size() const { return size_; }  // 0, 4 or 16
  const uint8_t* bytes() const { return bytes_.data(); }
  std::string ToString() const;
  void AppendTo(std::string& out) const;  // the same text, without an allocation of its own

  friend bool operator==(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
  uint8_t size_ = 0;
};

// An address range such as 10.0.0.0/8; an address alone is a range of one. Host bits must be zero
// or are cleared.
class Cidr {
 public:
  static Result<Cidr> Make(std::string_view text);
  bool Contains(const IpAddress& address) const;
  std::string ToString() const;
  const IpAddress& base() const { return base_; }  // its first address
  unsigned prefix() const { return prefix_; }      // bits, of 32 or 128

 private:
  IpAddress base_;
  uint8_t prefix_ = 0;
};

// Where a socket listens or connects. Texts: "127.0.0.1:80", "[::1]:80", "unix:/path".
class SocketAddress {
 public:
  SocketAddress() = default;
  static Result<SocketAddress> Make(std::string_view text);
  static SocketAddress FromIp(const IpAddress& ip, uint16_t port);
  static SocketAddress FromRaw(const sockaddr* address, socklen_t size);

  bool is_unix() const { return family() == AF_UNIX; }
  int family() const { return reinterpret_cast<const sockaddr*>(&storage_)->sa_family; }
  IpAddress ip() const;           // none for UNIX sockets
  uint16_t port() const;          // 0 for UNIX sockets
  std::string_view path() const;  // empty unless UNIX
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t raw_size() const { return size_; }
  std::string ToString() const;

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.ToString() == b.ToString();
  }

 private:
  // Large enough for sockaddr_in6 and sockaddr_un (110 bytes).
  alignas(8) std::array<char, 112> storage_{};
  socklen_t size_ = 0;
};

}  // namespace sluice
