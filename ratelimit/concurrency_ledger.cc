#include "ratelimit/concurrency_ledger.h"

namespace sluice::ratelimit {

std::optional<ConcurrencyLedger::Entered> ConcurrencyLedger::Enter(KeyTable& table,
                                                                   const KeyHash& key,
                                                                   const ConcurrencyLimit& limit,
                                                                   TimePoint now) {
  if (free_.empty()) {
    if (used_ == lines_.size()) return std::nullopt;
    free_.push_back(used_++);
  }
  const uint32_t ticket = free_.back();
  Line& line = lines_[ticket];
  line.low.store(key.low, std::memory_order_relaxed);
  line.high.store(key.high, std::memory_order_relaxed);
  line.is_held.store(1, std::memory_order_release);
  const std::optional<Decision> decision = table.Decide(key, limit, 1, now);
  if (decision && decision->allowed) {
    free_.pop_back();
  } else {
    line.is_held.store(0, std::memory_order_release);
  }
  if (!decision) return std::nullopt;
  return Entered{*decision, ticket};
}

void ConcurrencyLedger::Leave(KeyTable& table, uint32_t ticket, const ConcurrencyLimit& limit,
                              nanoseconds latency) {
  Line& line = lines_[ticket];
  table.Leave({line.low.load(std::memory_order_relaxed), line.high.load(std::memory_order_relaxed)},
              [&](uint64_t word) { return limit.Left(word, latency); });
  line.is_held.store(0, std::memory_order_release);
  free_.push_back(ticket);
}

void ConcurrencyLedger::Clear(std::span<std::byte> memory, KeyTable& table) {
  for (Line& line : LinesOf(memory)) {
    if (line.is_held.load(std::memory_order_acquire) == 0) continue;
    table.Leave(
        {line.low.load(std::memory_order_relaxed), line.high.load(std::memory_order_relaxed)},
        [](uint64_t word) { return ConcurrencyLimit::Left(word); });
    line.is_held.store(0, std::memory_order_release);
  }
}

}  // namespace sluice::ratelimit
