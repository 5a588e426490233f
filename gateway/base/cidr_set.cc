#include "gateway/base/cidr_set.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

template <typename Key>
Key ToKey(const IpAddress& address) {
  Key key = 0;
  for (size_t i = 0; i < sizeof(Key); ++i) {
    key = static_cast<Key>(key << 8 | address.bytes()[i]);
  }
  return key;
}

template <typename Key>
std::pair<Key, Key> Bounds(const Cidr& range) {
  const Key first = ToKey<Key>(range.base());
  // Shifting by all bits of a word is not defined.
  const Key host = range.prefix() == 0
                       ? static_cast<Key>(~Key{0})
                       : static_cast<Key>(static_cast<Key>(~Key{0}) >> (range.prefix() - 1) >> 1);
  return {first, first | host};
}

// The index of the last of sorted keys that is at most `key`, which the first one is. The step is
// chosen without a branch, because nobody could predict it.
template <typename Key>
size_t LastUpTo(std::span<const Key> keys, Key key) {
  const Key* at = keys.data();
  for (size_t size = keys.size(); size > 1;) {
    const size_t half = size / 2;
    at += at[half] <= key ? half : 0;
    size -= half;
  }
  return static_cast<size_t>(at - keys.data());
}

}  // namespace

template <typename Key>
void CidrSet::Ranges<Key>::Build(std::vector<std::pair<Key, Key>> ranges) {
  if (ranges.empty()) return;
  std::sort(ranges.begin(), ranges.end());
  for (const auto& [first, last] : ranges) {  // in place: what is kept is never ahead
    if (size != 0 && (first <= ranges[size - 1].second || first == ranges[size - 1].second + 1)) {
      ranges[size - 1].second = std::max(ranges[size - 1].second, last);
    } else {
      ranges[size++] = {first, last};
    }
  }
  constexpr size_t kSize = Group<Key>::kSize;
  groups.resize((size + kSize - 1) / kSize);
  starts.reserve(groups.size());
  for (size_t i = 0; i < groups.size() * kSize; ++i) {
    const auto& [first, last] = ranges[std::min(i, size - 1)];
    if (i % kSize == 0) starts.push_back(first);
    groups[i / kSize].firsts[i % kSize] = first;
    groups[i / kSize].lasts[i % kSize] = last;
  }
}

template <typename Key>
bool CidrSet::Ranges<Key>::Contains(Key key) const {
  if (size == 0 || key < starts.front()) return false;
  const Group<Key>& group = groups[LastUpTo<Key>(starts, key)];
  return key <= group.lasts[LastUpTo<Key>(group.firsts, key)];
}

template <typename Key>
size_t CidrSet::Ranges<Key>::memory() const {
  return starts.capacity() * sizeof(Key) + groups.capacity() * sizeof(Group<Key>);
}

CidrSet::CidrSet(std::span<const Cidr> ranges) {
  std::vector<std::pair<Key4, Key4>> v4;
  std::vector<std::pair<Key6, Key6>> v6;
  for (const Cidr& range : ranges) {
    if (range.base().is_none()) continue;
    if (range.base().is_v4()) {
      v4.push_back(Bounds<Key4>(range));
    } else {
      v6.push_back(Bounds<Key6>(range));
    }
  }
  v4_.Build(std::move(v4));
  v6_.Build(std::move(v6));
}

bool CidrSet::Contains(const IpAddress& address) const {
  if (address.is_none()) return false;
  return address.is_v4() ? v4_.Contains(ToKey<Key4>(address)) : v6_.Contains(ToKey<Key6>(address));
}

size_t CidrSet::memory() const { return v4_.memory() + v6_.memory(); }

}  // namespace sluice
