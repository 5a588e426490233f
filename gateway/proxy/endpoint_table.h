// What the workers of a host decide together about upstreams and their endpoints: how much is under
// way there, how fast they answer, whether they are healthy, ejected or cut off. In memory that
// master makes and every process maps; keyed by stable identity, so that a reload, a new list of
// nodes and the death of any process lose nothing.
//
//   index     hash of the key → number of its record; under the lock
//   totals    one array for each Counter, by record: the host's sum; one RMW a change
//   columns   the same arrays for each process: its own part of the sums; plain stores by it
//   records   identity, and the words of balancer/: outlier, breaker, EWMA; checks; the operator's
//
// A process that dies leaves its part in its column; ClearColumn takes it out of the sums. The file
// is sparse: memory grows with the records that are used.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "balancer/breaker.h"
#include "balancer/ewma.h"
#include "balancer/outlier.h"
#include "gateway/base/result.h"
#include "gateway/base/shared_memory.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

// What the operator has said of a node. Both keep new requests away, also when no other node is
// left, and let what is under way end.
enum class NodeOrder : uint8_t {
  kNone,
  kDrain,  // for a while: it goes on being checked
  kDown,   // it is out of service
};

// An endpoint, or an upstream as a whole (name is empty). Zero at the start.
struct alignas(64) SharedRecord {
  static constexpr size_t kLongestName = 107;  // a UNIX path; longer ones are cut

  std::string_view name() const { return {name_bytes.data(), name_size}; }

  // Constant while anyone holds the record.
  uint64_t key = 0;
  uint64_t upstream_key = 0;  // of its upstream's record; 0: it is one
  uint32_t name_size = 0;
  std::array<char, kLongestName + 1> name_bytes = {};

  // As configured, for those who look at it.
  std::atomic<uint32_t> weight = 0;
  std::atomic<int32_t> priority = 0;

  std::atomic<uint64_t> checks = 0;  // health, as gateway/proxy/health.h reads it
  std::atomic<NodeOrder> order = NodeOrder::kNone;
  balancer::OutlierState outlier;
  balancer::EwmaState ewma;
  balancer::BreakerState breaker;
};

class EndpointTable {
 public:
  enum class Counter : uint8_t {
    kActive,       // requests under way
    kRetries,      // of these, second and later attempts
    kPending,      // requests that wait for a place
    kConnections,  // to it, in use or kept
    kHolders,      // objects that have acquired the record
  };
  static constexpr size_t kCounters = 5;
  static constexpr uint32_t kCapacity = 65'536;  // records

  // By master: for `processes` columns. The result has no column of its own.
  static Result<std::shared_ptr<EndpointTable>> Make(uint32_t processes);
  // By a role, which is the only one with that `column`.
  static Result<std::shared_ptr<EndpointTable>> Map(const UniqueFd& fd, uint32_t processes,
                                                    uint32_t column);
  EndpointTable(const EndpointTable&) = delete;
  EndpointTable& operator=(const EndpointTable&) = delete;

  const UniqueFd& memory() const { return memory_.fd(); }  // to hand to roles, which Map it
  uint32_t processes() const { return processes_; }

  // The identity of an endpoint, or of an upstream (`endpoint` is empty). Never 0.
  static uint64_t KeyOf(std::string_view upstream, std::string_view endpoint = {});

  // The record of that identity, made if there is none, and held until Release. When the table is
  // full the record that nobody holds is given up; nullopt when all are held.
  std::optional<uint32_t> Acquire(std::string_view upstream, std::string_view endpoint = {});
  void Release(uint32_t id) { Remove(Counter::kHolders, id); }
  // The record of that identity if there is one; not held.
  std::optional<uint32_t> Find(std::string_view upstream, std::string_view endpoint = {}) const;
  // Those that some process holds now, upstreams and endpoints, in no order.
  std::vector<uint32_t> Held() const;

  SharedRecord& record(uint32_t id) { return records_[id]; }
  const SharedRecord& record(uint32_t id) const { return records_[id]; }

  // Precondition of both: this process has a column, and holds the record.
  void Add(Counter counter, uint32_t id) {
    Total(counter, id).fetch_add(1, std::memory_order_relaxed);
    std::atomic<uint32_t>& own = Own(counter, id);
    own.store(own.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  // The same if the host's sum stays within `limit`, however many workers ask at one time.
  bool TryAdd(Counter counter, uint32_t id, uint32_t limit) {
    std::atomic<uint32_t>& total = Total(counter, id);
    uint32_t before = total.load(std::memory_order_relaxed);
    do {
      if (before >= limit && before <= UINT32_MAX / 2) return false;  // above: less than nothing
    } while (!total.compare_exchange_weak(before, before + 1, std::memory_order_relaxed));
    std::atomic<uint32_t>& own = Own(counter, id);
    own.store(own.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return true;
  }
  void Remove(Counter counter, uint32_t id) {
    std::atomic<uint32_t>& own = Own(counter, id);
    own.store(own.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    Total(counter, id).fetch_sub(1, std::memory_order_relaxed);
  }
  // Of the whole host. A process that died between two stores can leave it one too high or low.
  uint32_t count(Counter counter, uint32_t id) const { return CountIn(word(counter, id)); }
  // The same for who keeps the place where it stands.
  const std::atomic<uint32_t>& word(Counter counter, uint32_t id) const {
    return totals_[Place(counter, id)];
  }
  static uint32_t CountIn(const std::atomic<uint32_t>& word) {
    const uint32_t total = word.load(std::memory_order_relaxed);
    return total > UINT32_MAX / 2 ? 0 : total;
  }

  // Precondition: the process of that column is dead, and its successor has not begun.
  void ClearColumn(uint32_t column);

 private:
  struct Header;
  class Lock;

  EndpointTable(SharedMemory memory, uint32_t processes, std::optional<uint32_t> column);
  static size_t Size(uint32_t processes);
  static constexpr size_t Place(Counter counter, uint32_t id) {
    return static_cast<size_t>(counter) * kCapacity + id;
  }

  std::atomic<uint32_t>& Total(Counter counter, uint32_t id) { return totals_[Place(counter, id)]; }
  std::atomic<uint32_t>& Own(Counter counter, uint32_t id) { return own_[Place(counter, id)]; }

  std::optional<uint32_t> FindLocked(uint64_t key) const;
  std::optional<uint32_t> TakeRecord();
  void Insert(uint32_t id);
  void RebuildIndex();

  SharedMemory memory_;
  uint32_t processes_;
  Header* header_;
  std::span<uint32_t> index_;  // 1 + id, 0: free
  std::atomic<uint32_t>* totals_;
  std::atomic<uint32_t>* columns_;
  std::atomic<uint32_t>* own_ = nullptr;  // within columns_
  SharedRecord* records_;
};

// A record held by an object of this process. When the table is full, or there is none (a tool, a
// test), it is the process's own: everything works, but other workers know nothing of it.
class HeldRecord {
 public:
  using Counter = EndpointTable::Counter;

  HeldRecord() = default;  // its own
  HeldRecord(std::shared_ptr<EndpointTable> table, std::string_view upstream,
             std::string_view endpoint = {});
  ~HeldRecord();
  HeldRecord(const HeldRecord&) = delete;
  HeldRecord& operator=(const HeldRecord&) = delete;

  SharedRecord& operator*() { return *record_; }
  SharedRecord* operator->() { return record_; }

  void Add(Counter counter) {
    table_ != nullptr ? table_->Add(counter, id_) : own_->Add(counter, 1);
  }
  bool TryAdd(Counter counter, uint32_t limit) {
    if (table_ != nullptr) return table_->TryAdd(counter, id_, limit);
    if (count(counter) >= limit) return false;
    own_->Add(counter, 1);
    return true;
  }
  void Remove(Counter counter) {
    table_ != nullptr ? table_->Remove(counter, id_) : own_->Add(counter, -1);
  }
  uint32_t count(Counter counter) const { return EndpointTable::CountIn(word(counter)); }
  // Where the count stands, for as long as this lives.
  const std::atomic<uint32_t>& word(Counter counter) const {
    return table_ != nullptr ? table_->word(counter, id_) : own_->counts[Own::Index(counter)];
  }

 private:
  struct Own {
    static constexpr size_t Index(Counter counter) { return static_cast<size_t>(counter); }
    void Add(Counter counter, int change) {
      counts[Index(counter)].fetch_add(static_cast<uint32_t>(change), std::memory_order_relaxed);
    }

    SharedRecord record;
    std::array<std::atomic<uint32_t>, EndpointTable::kCounters> counts = {};
  };

  std::shared_ptr<EndpointTable> table_;
  uint32_t id_ = 0;
  std::unique_ptr<Own> own_ = std::make_unique<Own>();  // null with a table
  SharedRecord* record_ = &own_->record;
};

}  // namespace sluice
