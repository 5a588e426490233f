// A limit with the word of one key, and a clock.
#pragma once

#include <atomic>

#include "ratelimit/limit.h"

namespace sluice::ratelimit {

template <typename L>
struct LimitedKey {
  // A whole number of windows of all tests, so that sliding windows begin here too.
  static constexpr TimePoint kStart{std::chrono::hours(5000)};

  template <typename... Args>
  explicit LimitedKey(Args... args) : limit(args...) {}

  Decision Ask(uint64_t cost = 1) { return Decide(word, limit, cost, now); }
  int Allowed(int requests) {
    int allowed = 0;
    for (int i = 0; i < requests; ++i) allowed += Ask().allowed ? 1 : 0;
    return allowed;
  }

  L limit;
  std::atomic<uint64_t> word = 0;
  TimePoint now = kStart;
};

}  // namespace sluice::ratelimit
