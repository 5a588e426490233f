// The addresses of one name, kept fresh: asked again when the TTL ends; when that fails the last
// good ones stay and the question is repeated with growing pauses. Changes are logged. Owned by an
// upstream node of a worker; the resolver and the loop outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/error.h"
#include "gateway/base/time.h"
#include "gateway/net/deadline.h"
#include "gateway/net/loop.h"
#include "gateway/net/resolver.h"

namespace sluice {

class ResolvedName final : private Deadline::Observer {
 public:
  // The pause after a failure doubles from `first` to `longest`; a quarter of it, more or less, is
  // random, so that workers do not ask in step.
  struct Backoff {
    Duration first = seconds(1);
    Duration longest = seconds(30);
  };

  // Starts the first look-up. `on_change` is called, never from in here, when addresses() changed
  // or error() came or went; it may destroy this object.
  ResolvedName(Loop& loop, Resolver& resolver, std::string name, std::function<void()> on_change,
               Backoff backoff);
  ResolvedName(Loop& loop, Resolver& resolver, std::string name, std::function<void()> on_change)
      : ResolvedName(loop, resolver, std::move(name), std::move(on_change), Backoff()) {}
  ~ResolvedName();
  ResolvedName(const ResolvedName&) = delete;
  ResolvedName& operator=(const ResolvedName&) = delete;

  const std::string& name() const { return name_; }
  // The last good ones; empty until the first answer, at most Resolver::kMaxAddresses.
  const std::vector<IpAddress>& addresses() const { return addresses_; }
  // Why the latest look-up failed; nullopt when it did not or has not ended yet.
  const std::optional<Error>& error() const { return error_; }

 private:
  void OnDeadline() override { Ask(); }
  void Ask();
  void OnAnswer(Result<Resolver::Answer> answer);
  void LogChange() const;
  Duration NextPause();

  Loop& loop_;
  Resolver& resolver_;
  const std::string name_;
  const std::function<void()> on_change_;
  const Backoff backoff_;
  Duration pause_;
  Deadline next_;
  std::minstd_rand random_;
  uint64_t lookup_ = 0;
  std::vector<IpAddress> addresses_;
  std::optional<Error> error_;
};

}  // namespace sluice
