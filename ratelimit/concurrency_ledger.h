// What one process has let in by ConcurrencyLimits and not let out yet, in memory that outlives it:
// so that what it leaves behind when it is killed can be taken out of the shared counts. Written
// before a request enters and cleared after it has left: a process that dies in between takes one
// too many out, which the next moment without requests of that key mends; none stays in for good.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ratelimit/key_table.h"

namespace sluice::ratelimit {

class ConcurrencyLedger {
 public:
  struct Entered {
    Decision decision;
    uint32_t ticket = 0;  // when allowed: for Leave
  };

  // Bytes of memory for `requests` under way at one time.
  static size_t SizeFor(uint32_t requests) { return sizeof(Line) * requests; }

  // By the only process that uses this `memory` (16-byte aligned, zero at the start), which starts
  // with no request under way: after Clear, if another had it before.
  explicit ConcurrencyLedger(std::span<std::byte> memory) : lines_(LinesOf(memory)) {}

  // nullopt: there is no room, in the table or here.
  std::optional<Entered> Enter(KeyTable& table, const KeyHash& key, const ConcurrencyLimit& limit,
                               TimePoint now);
  // The request with that ticket has ended after `latency` without its delay.
  void Leave(KeyTable& table, uint32_t ticket, const ConcurrencyLimit& limit, nanoseconds latency);

  // Precondition: the process that used `memory` is dead.
  static void Clear(std::span<std::byte> memory, KeyTable& table);

 private:
  struct alignas(16) Line {
    std::atomic<uint64_t> low;
    std::atomic<uint64_t> high;
    std::atomic<uint64_t> is_held;
  };

  static std::span<Line> LinesOf(std::span<std::byte> memory) {
    return {reinterpret_cast<Line*>(memory.data()), memory.size() / sizeof(Line)};
  }

  std::span<Line> lines_;
  uint32_t used_ = 0;           // lines that were ever used
  std::vector<uint32_t> free_;  // of these
};

}  // namespace sluice::ratelimit
