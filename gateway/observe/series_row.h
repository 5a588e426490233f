// The words of a row of a SeriesTable as the type that they are counted in, with numbers in place
// of tallies.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace sluice {

template <typename Row>
Row RowOf(std::span<const uint64_t> words) {
  std::array<uint64_t, sizeof(Row) / sizeof(uint64_t)> copy{};
  std::copy_n(words.begin(), std::min(words.size(), copy.size()), copy.begin());
  return std::bit_cast<Row>(copy);
}

}  // namespace sluice
