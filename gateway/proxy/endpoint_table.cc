#include "gateway/proxy/endpoint_table.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include <pthread.h>

#include "balancer/hash.h"
#include "gateway/base/log.h"

namespace sluice {
namespace {

constexpr char kMemoryName[] = "endpoint table";
constexpr size_t kPage = 4096;
// Half empty, so that a look-up is short.
constexpr size_t kIndexSize = size_t{EndpointTable::kCapacity} * 2;
constexpr size_t kColumnEntries = EndpointTable::kCounters * EndpointTable::kCapacity;

static_assert(std::atomic<uint32_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

}  // namespace

// Guards index, use of records and their identity. Robust: who dies with it leaves it usable.
struct EndpointTable::Header {
  pthread_mutex_t mutex;
  uint32_t used;  // records that were ever given out
};

class EndpointTable::Lock {
 public:
  explicit Lock(const EndpointTable& table) : table_(const_cast<EndpointTable&>(table)) {
    const int error = pthread_mutex_lock(&table_.header_->mutex);
    SLUICE_CHECK(error == 0 || error == EOWNERDEAD);
    if (error == 0) return;
    // Its owner died in the middle: what it was changing is made anew from the records.
    pthread_mutex_consistent(&table_.header_->mutex);
    table_.RebuildIndex();
  }
  ~Lock() { pthread_mutex_unlock(&table_.header_->mutex); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  EndpointTable& table_;
};

size_t EndpointTable::Size(uint32_t processes) {
  const size_t entries = kIndexSize + kColumnEntries * (1 + size_t{processes});
  return kPage + entries * sizeof(uint32_t) + sizeof(SharedRecord) * kCapacity;
}

EndpointTable::EndpointTable(SharedMemory memory, uint32_t processes,
                             std::optional<uint32_t> column)
    : memory_(std::move(memory)), processes_(processes) {
  static_assert(sizeof(Header) <= kPage);
  header_ = reinterpret_cast<Header*>(memory_.data());
  auto* words = reinterpret_cast<uint32_t*>(memory_.data() + kPage);
  index_ = {words, kIndexSize};
  totals_ = reinterpret_cast<std::atomic<uint32_t>*>(words + kIndexSize);
  columns_ = totals_ + kColumnEntries;
  if (column) own_ = columns_ + kColumnEntries * *column;
  records_ = reinterpret_cast<SharedRecord*>(columns_ + kColumnEntries * processes);
}

Result<std::shared_ptr<EndpointTable>> EndpointTable::Make(uint32_t processes) {
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory, SharedMemory::Make(kMemoryName, Size(processes)));
  auto table =
      std::shared_ptr<EndpointTable>(new EndpointTable(std::move(memory), processes, std::nullopt));
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(&table->header_->mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error != 0) return SystemError("lock of the endpoint table", error);
  return table;
}

Result<std::shared_ptr<EndpointTable>> EndpointTable::Map(const UniqueFd& fd, uint32_t processes,
                                                          uint32_t column) {
  SLUICE_CHECK(column < processes);
  SLUICE_ASSIGN_OR_RETURN(SharedMemory memory, SharedMemory::Map(fd, kMemoryName, Size(processes)));
  return std::shared_ptr<EndpointTable>(new EndpointTable(std::move(memory), processes, column));
}

uint64_t EndpointTable::KeyOf(std::string_view upstream, std::string_view endpoint) {
  const uint64_t of_upstream = balancer::HashBytes(upstream);
  const uint64_t key = endpoint.empty() ? of_upstream : balancer::HashBytes(endpoint, of_upstream);
  return key == 0 ? 1 : key;
}

std::optional<uint32_t> EndpointTable::Acquire(std::string_view upstream,
                                               std::string_view endpoint) {
  const uint64_t key = KeyOf(upstream, endpoint);
  const Lock lock(*this);
  std::optional<uint32_t> id = FindLocked(key);
  if (!id) {
    id = TakeRecord();
    if (!id) return std::nullopt;
    SharedRecord& record = *new (&records_[*id]) SharedRecord();
    const std::string_view name = endpoint.substr(0, SharedRecord::kLongestName);
    std::copy(name.begin(), name.end(), record.name_bytes.begin());
    record.name_size = static_cast<uint32_t>(name.size());
    record.upstream_key = endpoint.empty() ? 0 : KeyOf(upstream);
    record.key = key;  // last: with it the record is in use
    Insert(*id);
  }
  Add(Counter::kHolders, *id);
  return id;
}

std::optional<uint32_t> EndpointTable::Find(std::string_view upstream,
                                            std::string_view endpoint) const {
  const uint64_t key = KeyOf(upstream, endpoint);
  const Lock lock(*this);
  return FindLocked(key);
}

std::vector<uint32_t> EndpointTable::Held() const {
  std::vector<uint32_t> held;
  const Lock lock(*this);
  for (uint32_t id = 0; id < std::min(header_->used, kCapacity); ++id) {
    if (records_[id].key != 0 && count(Counter::kHolders, id) > 0) held.push_back(id);
  }
  return held;
}

std::optional<uint32_t> EndpointTable::FindLocked(uint64_t key) const {
  for (size_t at = key % kIndexSize; index_[at] != 0; at = (at + 1) % kIndexSize) {
    const uint32_t id = index_[at] - 1;
    if (id < kCapacity && records_[id].key == key) return id;
  }
  return std::nullopt;
}

// One that was never used, else one that nobody holds.
std::optional<uint32_t> EndpointTable::TakeRecord() {
  if (header_->used < kCapacity) return header_->used++;
  for (uint32_t id = 0; id < kCapacity; ++id) {
    if (count(Counter::kHolders, id) > 0) continue;
    records_[id].key = 0;
    for (size_t i = 0; i < kCounters; ++i) Total(static_cast<Counter>(i), id) = 0;
    RebuildIndex();
    return id;
  }
  return std::nullopt;
}

void EndpointTable::Insert(uint32_t id) {
  size_t at = records_[id].key % kIndexSize;
  while (index_[at] != 0) at = (at + 1) % kIndexSize;
  index_[at] = id + 1;
}

void EndpointTable::RebuildIndex() {
  std::fill(index_.begin(), index_.end(), 0);
  for (uint32_t id = 0; id < std::min(header_->used, kCapacity); ++id) {
    if (records_[id].key != 0) Insert(id);
  }
}

HeldRecord::HeldRecord(std::shared_ptr<EndpointTable> table, std::string_view upstream,
                       std::string_view endpoint) {
  if (table == nullptr) return;
  const std::optional<uint32_t> id = table->Acquire(upstream, endpoint);
  if (!id) {
    Log(LogLevel::kError, "the endpoint table is full: workers do not share this one's state",
        {{"upstream", upstream}, {"endpoint", endpoint}});
    return;
  }
  table_ = std::move(table);
  id_ = *id;
  record_ = &table_->record(id_);
  own_.reset();
}

HeldRecord::~HeldRecord() {
  if (table_ != nullptr) table_->Release(id_);
}

void EndpointTable::ClearColumn(uint32_t column) {
  SLUICE_CHECK(column < processes_);
  std::atomic<uint32_t>* const dead = columns_ + kColumnEntries * column;
  const uint32_t used = std::min(header_->used, kCapacity);
  for (size_t i = 0; i < kCounters; ++i) {
    for (uint32_t id = 0; id < used; ++id) {
      const size_t place = Place(static_cast<Counter>(i), id);
      const uint32_t part = dead[place].load(std::memory_order_relaxed);
      if (part == 0) continue;
      dead[place].store(0, std::memory_order_relaxed);
      totals_[place].fetch_sub(part, std::memory_order_relaxed);
    }
  }
}

}  // namespace sluice
