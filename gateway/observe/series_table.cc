#include "gateway/observe/series_table.h"

#include <algorithm>
#include <utility>

#include "gateway/base/result.h"

namespace sluice {
namespace {

constexpr size_t kPage = 4096;
constexpr uint32_t kNone = UINT32_MAX;
// Places of the index for each row: it is used up by half also when a list has replaced all rows.
constexpr size_t kIndexShare = 4;

constexpr size_t RoundUp(size_t size, size_t to) { return (size + to - 1) / to * to; }

// FNV-1a: the labels are the operator's own, not a peer's.
uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash == 0 ? 1 : hash;
}

// Where the parts of a table begin, each on a page of its own.
struct Places {
  size_t index, entries, holders, words, end;

  Places(const SeriesTable::Shape& shape, size_t entry_size, uint32_t processes) {
    index = kPage;
    entries = index + RoundUp(size_t{shape.rows} * kIndexShare * sizeof(uint32_t), kPage);
    holders = entries + RoundUp(shape.rows * entry_size, kPage);
    words = holders + RoundUp(size_t{processes} * shape.rows * sizeof(uint32_t), kPage);
    end =
        words + RoundUp((size_t{processes} + 1) * shape.rows * shape.words * sizeof(Tally), kPage);
  }
};

}  // namespace

class SeriesTable::Lock {
 public:
  explicit Lock(const SeriesTable& table) : mutex_(table.mutex_) {
    if (mutex_.Lock()) const_cast<SeriesTable&>(table).Mend();
  }
  ~Lock() { mutex_.Unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  RobustMutex& mutex_;
};

size_t SeriesTable::Size(const Shape& shape, uint32_t processes) {
  return Places(shape, sizeof(Entry) + shape.label_bytes, processes).end;
}

SeriesTable::SeriesTable(const Shape& shape, std::byte* memory, RobustMutex& lock,
                         uint32_t processes, uint32_t column)
    : shape_(shape), processes_(processes), column_(column), mutex_(lock) {
  SLUICE_CHECK(shape.words % 8 == 0 && shape.label_bytes % alignof(Entry) == 0);
  const Places places(shape, sizeof(Entry) + shape.label_bytes, processes);
  head_ = reinterpret_cast<Head*>(memory);
  index_ = {reinterpret_cast<uint32_t*>(memory + places.index), size_t{shape.rows} * kIndexShare};
  entries_ = memory + places.entries;
  holders_ = reinterpret_cast<std::atomic<uint32_t>*>(memory + places.holders);
  words_ = reinterpret_cast<Tally*>(memory + places.words);
}

void SeriesTable::Init(std::string_view last_resort) {
  head_->used = kLastResort + 1;
  Give(kLastResort, HashOf(last_resort), last_resort, kLastResort, true);
}

SeriesTable::Entry& SeriesTable::entry(uint32_t row) const {
  return *reinterpret_cast<Entry*>(entries_ + row * (sizeof(Entry) + shape_.label_bytes));
}

std::string_view SeriesTable::LabelsAt(uint32_t row) const {
  Entry& found = entry(row);
  return {LabelsOf(found), std::min(found.size, shape_.label_bytes)};
}

std::atomic<uint32_t>& SeriesTable::Holders(uint32_t column, uint32_t row) const {
  return holders_[size_t{column} * shape_.rows + row];
}

Tally* SeriesTable::Words(uint32_t column, uint32_t row) const {
  return words_ + (size_t{column} * shape_.rows + row) * shape_.words;
}

bool SeriesTable::is_held(uint32_t row) const {
  for (uint32_t column = 0; column < processes_; ++column) {
    if (Holders(column, row).load() != 0) return true;
  }
  return false;
}

std::vector<uint32_t> SeriesTable::Acquire(std::span<const Wanted> wanted, uint32_t soft_limit) {
  std::vector<uint32_t> rows(wanted.size(), kNone);
  const auto labels = [&](size_t i) {
    return std::string_view(wanted[i].labels).substr(0, shape_.label_bytes);
  };
  const auto hold = [&](size_t i, uint32_t row) {
    rows[i] = row;
    Holders(column_, row).fetch_add(1);
  };
  const Lock lock(*this);
  // Those that are there first: they must not be given up for the others.
  for (size_t i = 0; i < wanted.size(); ++i) {
    const uint32_t found = Find(HashOf(labels(i)), labels(i));
    if (found != kNone) hold(i, found);
  }
  uint32_t looked_at = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (rows[i] != kNone) continue;
    const uint64_t hash = HashOf(labels(i));
    const int32_t instead = wanted[i].fallback;
    const uint32_t fallback = instead < 0 ? kLastResort : rows[static_cast<size_t>(instead)];
    uint32_t row = Find(hash, labels(i));  // the list may name it twice
    if (row == kNone) {
      row = Take(soft_limit, looked_at);
      if (row != kNone) Give(row, hash, labels(i), fallback, wanted[i].pinned);
    }
    hold(i, row == kNone ? fallback : row);
  }
  if (looked_at > 0) Mend();
  return rows;
}

void SeriesTable::Release(std::span<const uint32_t> rows) {
  for (const uint32_t row : rows) Holders(column_, row).fetch_sub(1);
}

uint32_t SeriesTable::Find(uint64_t hash, std::string_view labels) const {
  for (size_t at = hash % index_.size(); index_[at] != 0; at = (at + 1) % index_.size()) {
    const uint32_t row = index_[at] - 1;
    if (row < shape_.rows && entry(row).hash == hash && LabelsAt(row) == labels) return row;
  }
  return kNone;
}

// A row to use anew, or kNone. `looked_at`: rows before it are all held.
uint32_t SeriesTable::Take(uint32_t soft_limit, uint32_t& looked_at) {
  uint32_t& used = head_->used;
  if (used < std::min(soft_limit, shape_.rows)) return used++;
  for (uint32_t& row = looked_at; row < std::min(used, shape_.rows); ++row) {
    if (entry(row).pinned || is_held(row)) continue;
    GiveUp(row);
    return row++;
  }
  return used < shape_.rows ? used++ : kNone;
}

void SeriesTable::Give(uint32_t row, uint64_t hash, std::string_view labels, uint32_t fallback,
                       bool pinned) {
  Entry& given = entry(row);
  std::copy(labels.begin(), labels.end(), LabelsOf(given));
  given.size = static_cast<uint32_t>(labels.size());
  given.fallback = fallback;
  given.pinned = pinned;
  given.hash = hash;  // last: with it the entry is in use
  Insert(row);
}

// Its counts pass to its fallback, in the archive: the copies of processes are theirs.
void SeriesTable::GiveUp(uint32_t row) {
  Entry& old = entry(row);
  if (old.hash == 0) return;
  const uint32_t fallback =
      old.fallback < shape_.rows && entry(old.fallback).pinned ? old.fallback : kLastResort;
  const std::vector<uint64_t> sums = Sum(row);
  for (uint32_t i = 0; i < shape_.words; ++i) {
    Words(processes_, fallback)[i].Add(sums[i]);
    Words(processes_, row)[i].Subtract(sums[i]);  // wraps; sums do too
  }
  old.hash = 0;  // the index finds a row whose labels differ, until it is made anew
}

void SeriesTable::Insert(uint32_t row) {
  size_t at = entry(row).hash % index_.size();
  while (index_[at] != 0) at = (at + 1) % index_.size();
  index_[at] = row + 1;
}

void SeriesTable::Mend() {
  std::fill(index_.begin(), index_.end(), 0);
  for (uint32_t row = 0; row < std::min(head_->used, shape_.rows); ++row) {
    if (entry(row).hash != 0) Insert(row);
  }
}

std::vector<uint64_t> SeriesTable::Sum(uint32_t row) const {
  std::vector<uint64_t> sums(shape_.words);
  for (uint32_t column = 0; column <= processes_; ++column) {
    const Tally* const words = Words(column, row);
    for (uint32_t i = 0; i < shape_.words; ++i) sums[i] += words[i].value();
  }
  return sums;
}

void SeriesTable::ForEach(const Visit& visit) const {
  const Lock lock(*this);
  for (uint32_t row = 0; row < std::min(head_->used, shape_.rows); ++row) {
    if (entry(row).hash != 0) visit(LabelsAt(row), Sum(row));
  }
}

void SeriesTable::ReleaseColumn(uint32_t column) {
  const Lock lock(*this);
  for (uint32_t row = 0; row < std::min(head_->used, shape_.rows); ++row) {
    if (Holders(column, row).load() != 0) Holders(column, row) = 0;
  }
}

}  // namespace sluice
