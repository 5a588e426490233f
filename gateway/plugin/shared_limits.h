// What the limits of plugins know of each key, for all workers of a host: the table of ratelimit/
// in memory that master makes, the secret that names are hashed under, and for each worker the
// ledger of what it has let in. A reload, a killed worker and a new controller lose nothing.
//
//   | secret 16 bytes … 4096 | key table | ledger of worker 0 | ledger of worker 1 | …
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "gateway/base/keyed_hash.h"
#include "gateway/base/result.h"
#include "gateway/base/shared_memory.h"
#include "ratelimit/concurrency_ledger.h"
#include "ratelimit/key_table.h"

namespace sluice {

class SharedLimits {
 public:
  // How many requests of one worker may be within limits on concurrency at one time.
  static constexpr uint32_t kLedgerLines = 65'536;

  // By master: for `keys` that are in use at one time.
  static Result<std::shared_ptr<SharedLimits>> Make(uint64_t keys, uint32_t workers);
  // By the only process that is this worker.
  static Result<std::shared_ptr<SharedLimits>> Map(const UniqueFd& fd, uint64_t keys,
                                                   uint32_t workers, uint32_t worker);

  // How full the table is, by who is no worker, from the memory alone. nullopt: it is not to be
  // read.
  static std::optional<ratelimit::KeyTable::Use> ReadUse(const UniqueFd& memory, uint64_t keys,
                                                         ratelimit::TimePoint now);

  const UniqueFd& memory() const { return memory_.fd(); }  // to hand to roles
  uint64_t keys() const { return keys_; }

  // What stands for a limit, by its name ("route/r1 limit-count …"), which is the same in all
  // processes and after a reload. No secret: names come from the configuration.
  static Hash128 NameOf(std::string_view limit) {
    return KeyedHash(std::array<uint8_t, 16>{}).Of(limit);
  }
  ratelimit::KeyHash KeyOf(const Hash128& limit, std::string_view key) const {
    const Hash128 hash = hash_.Of(limit, key);
    return {hash.low, hash.high};
  }

  // The same for a key of several parts: KeyOf(Within(limit, first), second).
  Hash128 Within(const Hash128& limit, std::string_view part) const {
    return hash_.Of(limit, part);
  }

  ratelimit::KeyTable& table() { return table_; }
  // Of this worker. Precondition: Map.
  ratelimit::ConcurrencyLedger& ledger() { return *ledger_; }

  // Takes out what a worker had let in. Precondition: its process is dead.
  void ClearLedger(uint32_t worker);

 private:
  SharedLimits(SharedMemory memory, uint64_t keys, uint32_t workers);
  std::span<std::byte> LedgerMemory(uint32_t worker) const;

  SharedMemory memory_;
  uint64_t keys_;
  uint32_t workers_;
  KeyedHash hash_;
  ratelimit::KeyTable table_;
  std::optional<ratelimit::ConcurrencyLedger> ledger_;
};

}  // namespace sluice
