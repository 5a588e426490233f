// A name server for tests on a loopback port, on the loop of what it serves. What it answers is
// the test's function from a query to the bytes of a datagram; empty means no answer.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/address.h"
#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"

namespace sluice {

struct DnsQuery {
  static constexpr uint16_t kA = 1;
  static constexpr uint16_t kCname = 5;
  static constexpr uint16_t kAaaa = 28;

  std::string id;        // two bytes
  std::string question;  // as received: name, type, class
  std::string name;      // "a.example"
  uint16_t type = 0;
};

class DnsAnswer {
 public:
  static constexpr int kServfail = 2;
  static constexpr int kNxdomain = 3;

  explicit DnsAnswer(const DnsQuery& query) : query_(query) {}

  DnsAnswer& Code(int code) {
    code_ = code;
    return *this;
  }
  DnsAnswer& Truncated() {
    truncated_ = true;
    return *this;
  }
  // Adds the address when the query asks for its family.
  DnsAnswer& Address(std::string_view text, uint32_t ttl) {
    const IpAddress ip = *IpAddress::Parse(text);
    const uint16_t type = ip.is_v4() ? DnsQuery::kA : DnsQuery::kAaaa;
    if (type != query_.type) return *this;
    records_ += owner_ + Number(type) + Number(1) + Ttl(ttl);
    records_ += Number(static_cast<uint16_t>(ip.size()));
    records_.append(reinterpret_cast<const char*>(ip.bytes()), ip.size());
    ++count_;
    return *this;
  }
  // The name is an alias of itself below a label ("x" and the name), which the addresses that
  // follow belong to.
  DnsAnswer& Alias(uint32_t ttl) {
    records_ += owner_ + Number(DnsQuery::kCname) + Number(1) + Ttl(ttl) + Number(4);
    owner_ = std::string("\1x\xc0\x0c", 4);
    records_ += owner_;
    ++count_;
    return *this;
  }

  std::string Bytes() const {
    const auto flags = static_cast<uint16_t>(0x8180 | code_ | (truncated_ ? 0x0200 : 0));
    return query_.id + Number(flags) + Number(1) + Number(count_) + Number(0) + Number(0) +
           query_.question + records_;
  }

 private:
  static std::string Number(uint16_t value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
  }
  static std::string Ttl(uint32_t ttl) {
    return Number(static_cast<uint16_t>(ttl >> 16)) + Number(static_cast<uint16_t>(ttl & 0xffff));
  }

  DnsQuery query_;
  std::string owner_ = Number(0xc00c);  // a pointer to the question's name
  int code_ = 0;
  bool truncated_ = false;
  uint16_t count_ = 0;
  std::string records_;
};

class DnsStub {
 public:
  using Answer = std::function<std::string(const DnsQuery&)>;

  DnsStub(Loop& loop, Answer answer) : loop_(loop), answer_(std::move(answer)) {
    const SocketAddress any = *SocketAddress::Make("127.0.0.1:0");
    udp_ = Bind(SOCK_DGRAM, any);
    sockaddr_in bound{};
    socklen_t size = sizeof(bound);
    getsockname(udp_, reinterpret_cast<sockaddr*>(&bound), &size);
    address_ = SocketAddress::FromRaw(reinterpret_cast<sockaddr*>(&bound), size);
    Watch(udp_, [this] { ServeDatagram(); });
  }
  ~DnsStub() {
    for (const auto& [fd, watcher] : watchers_) close(fd);
  }

  std::string address() const { return address_.ToString(); }
  void SetAnswer(Answer answer) { answer_ = std::move(answer); }
  // What has been asked, by UDP.
  const std::vector<DnsQuery>& queries() const { return queries_; }

  // Answers on TCP too, with this.
  void ServeTcp(Answer answer) {
    tcp_answer_ = std::move(answer);
    const int listener = Bind(SOCK_STREAM, address_);
    EXPECT_EQ(listen(listener, 8), 0);
    Watch(listener, [this, listener] {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) Watch(fd, [this, fd] { ServeConnection(fd); });
    });
  }

 private:
  static int Bind(int type, const SocketAddress& address) {
    const int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(fd, address.raw(), address.raw_size()), 0);
    return fd;
  }

  void Watch(int fd, std::function<void()> on_readable) {
    auto watcher = ReadableWatcher::Make(loop_, fd, std::move(on_readable));
    EXPECT_TRUE(watcher.has_value());
    watchers_[fd] = *std::move(watcher);
  }

  static DnsQuery Parse(std::string_view packet) {
    DnsQuery query;
    query.id = packet.substr(0, 2);
    size_t at = 12;
    while (packet.at(at) != 0) {
      const auto length = static_cast<size_t>(packet[at]);
      if (!query.name.empty()) query.name += '.';
      query.name += packet.substr(at + 1, length);
      at += length + 1;
    }
    query.question = packet.substr(12, at + 5 - 12);
    query.type = static_cast<uint16_t>(static_cast<uint8_t>(packet.at(at + 2)));
    return query;
  }

  void ServeDatagram() {
    char bytes[512];
    sockaddr_in from{};
    socklen_t from_size = sizeof(from);
    const ssize_t size =
        recvfrom(udp_, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 12) return;
    queries_.push_back(Parse({bytes, static_cast<size_t>(size)}));
    const std::string answer = answer_(queries_.back());
    if (answer.empty()) return;
    sendto(udp_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), from_size);
  }

  void ServeConnection(int fd) {
    char bytes[1024];
    const ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
    if (size <= 0) {
      watchers_.erase(fd);
      close(fd);
      return;
    }
    // Small queries on loopback arrive whole; several may come at once.
    std::string_view rest(bytes, static_cast<size_t>(size));
    while (rest.size() > 2) {
      const size_t length = static_cast<uint8_t>(rest[0]) * 256U + static_cast<uint8_t>(rest[1]);
      const std::string answer = tcp_answer_(Parse(rest.substr(2, length)));
      const char prefix[] = {static_cast<char>(answer.size() >> 8),
                             static_cast<char>(answer.size() & 0xff)};
      send(fd, prefix, 2, MSG_NOSIGNAL);
      send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      rest.remove_prefix(length + 2);
    }
  }

  Loop& loop_;
  Answer answer_;
  Answer tcp_answer_;
  int udp_ = -1;
  SocketAddress address_;
  std::map<int, std::unique_ptr<ReadableWatcher>> watchers_;
  std::vector<DnsQuery> queries_;
};

}  // namespace sluice
