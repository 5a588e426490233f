// Asks the DNS for the addresses of a name without ever blocking: c-ares on the loop's poll handles
// and one timer. /etc/hosts comes first; localhost is never asked (RFC 6761 6.3). One for each
// worker, owned by it; everything happens on its loop's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/net/loop.h"

namespace sluice {

struct ResolverOptions {
  std::string servers{};          // "192.0.2.1:53,[2001:db8::1]:53"; empty: of /etc/resolv.conf
  Duration timeout = seconds(2);  // of the first try at a server; doubles with each further one
  int tries = 2;                  // at each server
  Duration min_ttl = seconds(1);  // a TTL outside of these two is moved to the nearer one
  Duration max_ttl = hours(1);
};

class Resolver {
 public:
  static constexpr size_t kMaxAddresses = 64;

  struct Answer {
    std::vector<IpAddress> addresses;  // at least one; sorted, IPv4 first, each once
    Duration ttl{};                    // ask again then
  };
  using Callback = std::function<void(Result<Answer>)>;

  // An error when `servers` cannot be read.
  static Result<std::unique_ptr<Resolver>> Make(Loop& loop, const ResolverOptions& options = {});
  ~Resolver();  // no callback is called any more
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Looks up A and AAAA of `name` (no IP literal). `callback` is called once, in a later loop turn;
  // it may destroy the resolver. Look-ups of a name that is being asked for join that one.
  uint64_t Resolve(std::string_view name, Callback callback);

  // The callback of that Resolve is not called any more. Harmless when it already was.
  void Cancel(uint64_t id);

 private:
  struct Channel;
  explicit Resolver(std::unique_ptr<Channel> channel);
  std::unique_ptr<Channel> channel_;
};

}  // namespace sluice
