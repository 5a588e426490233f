#include "gateway/http/headers.h"

#include <algorithm>
#include <cstring>

#include "gateway/base/text.h"

namespace sluice {
namespace {

constexpr size_t kIdCount = static_cast<size_t>(HeaderId::kCount);

constexpr std::array<std::string_view, kIdCount> kNames = {
    "",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "Host",
    "HTTP2-Settings",
    "Keep-Alive",
    "Max-Forwards",
    "Proxy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Referer",
    "Server",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
};
static_assert(kNames.back() == "X-Real-IP", "one name for each HeaderId, in the same order");

constexpr size_t kShortest = 2;
constexpr size_t kLongest = 19;
constexpr size_t kSlots = 128;

// A name as it is compared: `letters` has 0x20 where a letter stands, so that (c | letters) ==
// lower holds for both cases of that letter and for nothing else.
struct KnownName {
  std::array<char, 24> lower{};
  std::array<char, 24> letters{};
  uint8_t size = 0;
};

// Length, first and last but one character tell all known names apart; `seed` spreads them over the
// slots without a collision and is found by the compiler.
constexpr size_t Slot(std::string_view name, uint32_t seed) {
  const auto lower = [](char c) { return static_cast<uint32_t>(static_cast<uint8_t>(c)) | 0x20U; };
  const uint32_t key = (static_cast<uint32_t>(name.size()) << 16) | (lower(name.front()) << 8) |
                       lower(name[name.size() - 2]);
  return (key * seed) >> 25;
}

constexpr bool IsPerfect(uint32_t seed) {
  std::array<bool, kSlots> taken{};
  for (size_t id = 1; id < kIdCount; ++id) {
    const size_t slot = Slot(kNames[id], seed);
    if (taken[slot]) return false;
    taken[slot] = true;
  }
  return true;
}

constexpr uint32_t FindSeed() {
  uint32_t seed = 0x9e3779b1U;
  while (!IsPerfect(seed)) seed = seed * 1664525U + 1013904223U;
  return seed;
}
constexpr uint32_t kSeed = FindSeed();

constexpr std::array<HeaderId, kSlots> MakeSlots() {
  std::array<HeaderId, kSlots> slots{};
  for (size_t id = 1; id < kIdCount; ++id) {
    slots[Slot(kNames[id], kSeed)] = static_cast<HeaderId>(id);
  }
  return slots;
}
constexpr std::array<HeaderId, kSlots> kIdBySlot = MakeSlots();

constexpr std::array<KnownName, kIdCount> MakeKnownNames() {
  std::array<KnownName, kIdCount> known{};
  for (size_t id = 0; id < kIdCount; ++id) {
    known[id].size = static_cast<uint8_t>(kNames[id].size());
    for (size_t i = 0; i < kNames[id].size(); ++i) {
      const char c = AsciiLower(kNames[id][i]);
      known[id].lower[i] = c;
      known[id].letters[i] = c >= 'a' && c <= 'z' ? 0x20 : 0;
    }
  }
  return known;
}
constexpr std::array<KnownName, kIdCount> kKnown = MakeKnownNames();

template <typename Word>
bool WordMatches(const char* name, const KnownName& known, size_t offset) {
  Word word;
  Word letters;
  Word lower;
  std::memcpy(&word, name + offset, sizeof(Word));
  std::memcpy(&letters, known.letters.data() + offset, sizeof(Word));
  std::memcpy(&lower, known.lower.data() + offset, sizeof(Word));
  return (word | letters) == lower;
}

// Whole words, the last of them overlapping the one before.
bool Matches(std::string_view name, const KnownName& known) {
  const size_t size = name.size();
  if (size != known.size) return false;
  const char* data = name.data();
  if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) {
      if (!WordMatches<uint64_t>(data, known, i)) return false;
    }
    return WordMatches<uint64_t>(data, known, size - 8);
  }
  if (size >= 4) {
    return WordMatches<uint32_t>(data, known, 0) && WordMatches<uint32_t>(data, known, size - 4);
  }
  return WordMatches<uint16_t>(data, known, 0) && WordMatches<uint16_t>(data, known, size - 2);
}

}  // namespace

HeaderId FindHeaderId(std::string_view name) {
  if (name.size() < kShortest || name.size() > kLongest) return HeaderId::kOther;
  const HeaderId id = kIdBySlot[Slot(name, kSeed)];
  // An empty slot holds kOther, whose size of 0 matches no name.
  return Matches(name, kKnown[static_cast<size_t>(id)]) ? id : HeaderId::kOther;
}

std::string_view HeaderName(HeaderId id) { return kNames[static_cast<size_t>(id)]; }

const HeaderField* HeaderList::Find(std::string_view name) const {
  const HeaderId id = FindHeaderId(name);
  if (id != HeaderId::kOther) return Find(id);
  const auto found = std::find_if(fields_.begin(), fields_.end(), [name](const HeaderField& field) {
    return IsNamed(field, name, HeaderId::kOther);
  });
  return found == fields_.end() ? nullptr : &*found;
}

size_t HeaderList::Count(HeaderId id) const {
  return static_cast<size_t>(std::count_if(
      fields_.begin(), fields_.end(), [id](const HeaderField& field) { return field.id == id; }));
}

void HeaderList::Set(const HeaderField& field) {
  const HeaderField* const first = field.id != HeaderId::kOther ? Find(field.id) : Find(field.name);
  if (first == nullptr) return Add(field);
  const auto index = static_cast<size_t>(first - fields_.data());
  fields_[index] = field;
  RemoveAfter(index + 1, field.name, field.id);
}

void HeaderList::Remove(std::string_view name) { RemoveAfter(0, name, FindHeaderId(name)); }

void HeaderList::RemoveAfter(size_t index, std::string_view name, HeaderId id) {
  const auto from = fields_.begin() + static_cast<ptrdiff_t>(index);
  const auto end = std::remove_if(
      from, fields_.end(), [&](const HeaderField& field) { return IsNamed(field, name, id); });
  if (end == fields_.end()) return;
  fields_.erase(end, fields_.end());
  FindFirst();
}

void HeaderList::FindFirst() {
  first_.fill(kAbsent);
  for (size_t i = 0; i < fields_.size(); ++i) {
    auto& first = first_[static_cast<size_t>(fields_[i].id)];
    if (first == kAbsent) first = static_cast<uint16_t>(i);
  }
}

}  // namespace sluice
