// What is counted of the requests of one route (or of all routes that are not counted apart), as a
// row of a SeriesTable: Traffic<Tally> in shared memory, Traffic<uint64_t> as its sum.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#include "gateway/base/time.h"
#include "gateway/observe/tally.h"

namespace sluice {

// Upper bounds of the classes of latency; the last class has none. APISIX's bounds, from 1 ms, are
// among them.
inline constexpr std::array<Duration, 21> kLatencyBounds = {
    microseconds(10),  microseconds(20), microseconds(50),  microseconds(100), microseconds(200),
    microseconds(500), milliseconds(1),  milliseconds(2),   milliseconds(5),   milliseconds(10),
    milliseconds(20),  milliseconds(50), milliseconds(100), milliseconds(200), milliseconds(500),
    seconds(1),        seconds(2),       seconds(5),        seconds(10),       seconds(30),
    seconds(60)};
inline constexpr size_t kLatencyClasses = kLatencyBounds.size() + 1;

// Where to begin to look for a latency's class, by the number's length: at most three bounds have
// the same. A table within a function would be copied at each call.
inline constexpr auto kFirstClasses = [] {
  std::array<uint8_t, 65> first{};
  for (size_t length = 0; length < first.size(); ++length) {
    const uint64_t least = length == 0 ? 0 : uint64_t{1} << (length - 1);
    while (first[length] < kLatencyBounds.size() &&
           static_cast<uint64_t>(kLatencyBounds[first[length]].count()) < least) {
      ++first[length];
    }
  }
  return first;
}();

// The class that a latency falls into: bounds belong to the class below.
constexpr size_t LatencyClass(Duration latency) {
  const auto count = static_cast<uint64_t>(latency.count());
  size_t found = kFirstClasses[static_cast<size_t>(std::bit_width(count))];
  while (found < kLatencyBounds.size() &&
         count > static_cast<uint64_t>(kLatencyBounds[found].count())) {
    ++found;
  }
  return found;
}

// Statuses that are counted apart; of the others each hundred is counted together.
inline constexpr std::array<uint16_t, 58> kStatuses = {
    101, 200, 201, 202, 203, 204, 205, 206, 207, 300, 301, 302, 303, 304, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413,
    414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 444,
    449, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520};
inline constexpr size_t kStatusSlots = kStatuses.size() + 6;

inline constexpr auto kSlotsOfStatuses = [] {
  std::array<uint8_t, 600> slots{};
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i] = static_cast<uint8_t>(kStatuses.size() + i / 100);
  }
  for (size_t i = 0; i < kStatuses.size(); ++i) slots[kStatuses[i]] = static_cast<uint8_t>(i);
  return slots;
}();

// The slot of a status: its place in kStatuses, or behind these that of its hundred (0: no status).
constexpr size_t StatusSlot(int status) {
  return kSlotsOfStatuses[status >= 0 && status < 600 ? static_cast<size_t>(status) : 0];
}
// "200", or "2xx" where it is not known more exactly; "none".
std::string_view StatusSlotName(size_t slot);

template <typename Word>
struct LatencyHistogram {
  Word nanoseconds{};  // the sum
  std::array<Word, kLatencyClasses> classes{};

  void Count(Duration latency) requires std::is_same_v<Word, Tally> {
    nanoseconds.Add(static_cast<uint64_t>(latency.count()));
    classes[LatencyClass(latency)].Add();
  }
};

template <typename Word>
struct alignas(64) Traffic {
  Word bytes_received{};  // from clients: heads and bodies
  Word bytes_sent{};
  // Without WebSockets, whose length says nothing.
  LatencyHistogram<Word> request;   // from the complete head to the end of the response
  LatencyHistogram<Word> upstream;  // of that, from the choice of a node on
  LatencyHistogram<Word> overhead;  // the rest: ours
  std::array<Word, kStatusSlots> statuses{};
};

inline constexpr size_t kTrafficWords = sizeof(Traffic<uint64_t>) / sizeof(uint64_t);
static_assert(sizeof(Traffic<Tally>) == sizeof(Traffic<uint64_t>) && kTrafficWords % 8 == 0);

}  // namespace sluice
