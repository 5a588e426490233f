// Rows of counters in shared memory, one for each series that a configuration has (a route, a
// plugin on a route), found by its labels. Workers take the rows of a revision when they build it;
// while requests run a row is a pointer.
//
//   index     hash of the labels → number of the row          (read and written under the lock)
//   entries   the labels, and which row gets the counts when this one is given up
//   holders   for each process: how many of its revisions hold the row
//   words     for each process its own copy of all rows (plain stores by it), and an archive
//
// A series is the sum of its row over all copies. The copy of a process that died stays: its
// successor in the slot goes on with it. When rows are used up, one that nobody holds (its route
// was removed) is given up: the archive takes its counts over to its fallback, so that a sum over
// all series never falls. Memory grows with the rows that are used.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/robust_mutex.h"
#include "gateway/observe/tally.h"

namespace sluice {

class SeriesTable {
 public:
  struct Shape {
    uint32_t rows = 0;
    uint32_t words = 0;        // of a row; a multiple of 8: a row is whole cache lines
    uint32_t label_bytes = 0;  // longer labels are cut
  };

  // Labels are texts, put together with this between them.
  static constexpr char kSeparator = '\x1f';
  static constexpr uint32_t kLastResort = 0;  // a row that is always there

  struct Wanted {
    std::string labels;
    // Index into the same list: which row serves instead when there is no room. -1: kLastResort.
    int32_t fallback = -1;
    bool pinned = false;  // is never given up
  };

  static size_t Size(const Shape& shape, uint32_t processes);
  // Over `memory` of that size and the lock of its owner; `column` is this process's own.
  SeriesTable(const Shape& shape, std::byte* memory, RobustMutex& lock, uint32_t processes,
              uint32_t column);

  // Once, by the process that has made the memory.
  void Init(std::string_view last_resort);

  // The rows of these series, which are held until Release. New ones are made up to `soft_limit`
  // rows without a second thought; above it rows that nobody holds are used first.
  std::vector<uint32_t> Acquire(std::span<const Wanted> wanted, uint32_t soft_limit);
  void Release(std::span<const uint32_t> rows);  // waits for nobody

  // This process's copy of a row, to count in.
  Tally* own(uint32_t row) { return Words(column_, row); }

  // Every series in use with the sums of its words. Under the lock: be quick.
  using Visit = std::function<void(std::string_view labels, std::span<const uint64_t> sums)>;
  void ForEach(const Visit& visit) const;

  // The process of that column is dead: what it held is free. Its counts stay.
  void ReleaseColumn(uint32_t column);

  // Someone died with the lock: what can be inconsistent is made anew.
  void Mend();

 private:
  struct Head {
    uint32_t used;  // rows that were ever given out
  };
  struct Entry {
    uint64_t hash;  // 0: not in use
    uint32_t fallback;
    uint32_t size;
    bool pinned;
    // label_bytes follow
  };
  class Lock;

  Entry& entry(uint32_t row) const;
  char* LabelsOf(Entry& entry) const { return reinterpret_cast<char*>(&entry + 1); }
  std::string_view LabelsAt(uint32_t row) const;
  std::atomic<uint32_t>& Holders(uint32_t column, uint32_t row) const;
  Tally* Words(uint32_t column, uint32_t row) const;
  bool is_held(uint32_t row) const;
  uint32_t Find(uint64_t hash, std::string_view labels) const;
  uint32_t Take(uint32_t soft_limit, uint32_t& looked_at);
  void Give(uint32_t row, uint64_t hash, std::string_view labels, uint32_t fallback, bool pinned);
  void GiveUp(uint32_t row);
  void Insert(uint32_t row);
  std::vector<uint64_t> Sum(uint32_t row) const;

  const Shape shape_;
  const uint32_t processes_;
  const uint32_t column_;
  RobustMutex& mutex_;
  Head* head_;
  std::span<uint32_t> index_;  // 1 + row, 0: free
  std::byte* entries_;
  std::atomic<uint32_t>* holders_;
  Tally* words_;
};

}  // namespace sluice
