#include "balancer/hash.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace sluice::balancer {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as little-endian");

template <typename Word>
Word Read(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Eight bytes are taken at a time: table k holds what a byte does that k more bytes follow.
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables MakeCrcTables() {
  CrcTables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t shorter = tables[k - 1][byte];
      tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xff];
    }
  }
  return tables;
}

constexpr CrcTables kCrcTables = MakeCrcTables();

// Both halves of the 128-bit product, folded: every bit of the result depends on all of both.
uint64_t Fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Odd constants with about half of their bits set (fractions of the golden ratio, sqrt 2, sqrt 3).
constexpr uint64_t kMixA = 0x9e3779b97f4a7c15;
constexpr uint64_t kMixB = 0x6a09e667f3bcc909;
constexpr uint64_t kMixC = 0xbb67ae8584caa73b;

}  // namespace

uint32_t Crc32(std::string_view bytes, uint32_t before) {
  const auto& t = kCrcTables;
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint32_t crc = ~before;
  for (; left >= 8; at += 8, left -= 8) {
    const uint64_t word = Read<uint64_t>(at) ^ crc;
    crc = t[7][word & 0xff] ^ t[6][(word >> 8) & 0xff] ^ t[5][(word >> 16) & 0xff] ^
          t[4][(word >> 24) & 0xff] ^ t[3][(word >> 32) & 0xff] ^ t[2][(word >> 40) & 0xff] ^
          t[1][(word >> 48) & 0xff] ^ t[0][word >> 56];
  }
  for (; left > 0; ++at, --left) crc = (crc >> 8) ^ t[0][(crc ^ static_cast<uint8_t>(*at)) & 0xff];
  return ~crc;
}

uint64_t HashBytes(std::string_view bytes, uint64_t seed) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t state = seed ^ kMixA;
  for (; left > 16; at += 16, left -= 16) {
    state = Fold(Read<uint64_t>(at) ^ kMixB, Read<uint64_t>(at + 8) ^ state);
  }
  // The last 1 to 16 bytes as two words, which overlap when there are fewer than 16.
  uint64_t first = 0;
  uint64_t last = 0;
  if (left >= 8) {
    first = Read<uint64_t>(at);
    last = Read<uint64_t>(at + left - 8);
  } else if (left >= 4) {
    first = Read<uint32_t>(at);
    last = Read<uint32_t>(at + left - 4);
  } else if (left > 0) {
    first = static_cast<uint8_t>(at[0]) | static_cast<uint64_t>(static_cast<uint8_t>(at[left / 2]))
                                              << 8;
    last = static_cast<uint8_t>(at[left - 1]);
  }
  state = Fold(first ^ kMixB ^ bytes.size(), last ^ state);
  return Fold(state ^ kMixC, kMixA ^ bytes.size());
}

}  // namespace sluice::balancer
