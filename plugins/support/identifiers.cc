#include "plugins/support/identifiers.h"

#include <array>
#include <chrono>

namespace sluice::plugins {
namespace {

constexpr std::string_view kBase62 =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kUriCharacters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";

// `high` and `low` are the 16 bytes, in network order, with version and variant to be set.
std::string UuidText(uint64_t high, uint64_t low, uint64_t version) {
  constexpr std::string_view kHex = "0123456789abcdef";
  high = (high & ~uint64_t{0xf000}) | version << 12;
  low = (low & ~(uint64_t{3} << 62)) | uint64_t{2} << 62;
  std::string text;
  text.reserve(36);
  for (unsigned nibble = 0; nibble < 32; ++nibble) {
    if (nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20) text += '-';
    const uint64_t half = nibble < 16 ? high : low;
    text += kHex[half >> (60 - 4 * (nibble % 16)) & 15];
  }
  return text;
}

}  // namespace

std::string MakeUuidV4(const RandomBits& random) {
  const uint64_t high = random();
  return UuidText(high, random(), 4);
}

std::string MakeUuidV7(WallTime now, const RandomBits& random) {
  const auto time =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const uint64_t high = static_cast<uint64_t>(time) << 16 | (random() & 0xffff);
  return UuidText(high, random(), 7);
}

std::string MakeNanoId(const RandomBits& random) { return MakeFromSet(kUriCharacters, 21, random); }

std::string MakeKsuid(WallTime now, const RandomBits& random) {
  constexpr int64_t kEpoch = 1'400'000'000;  // of this format
  constexpr size_t kLength = 27;
  const auto time =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  // 160 bits as a number of five digits, the first the greatest, divided by 62 again and again.
  const uint64_t high = random();
  const uint64_t low = random();
  std::array<uint32_t, 5> digits = {static_cast<uint32_t>(time - kEpoch),
                                    static_cast<uint32_t>(high >> 32), static_cast<uint32_t>(high),
                                    static_cast<uint32_t>(low >> 32), static_cast<uint32_t>(low)};
  std::string text(kLength, '0');
  for (size_t at = kLength; at-- > 0;) {
    uint64_t rest = 0;
    for (uint32_t& digit : digits) {
      const uint64_t value = rest << 32 | digit;
      digit = static_cast<uint32_t>(value / 62);
      rest = value % 62;
    }
    text[at] = kBase62[rest];
  }
  return text;
}

std::string MakeFromSet(std::string_view characters, size_t length, const RandomBits& random) {
  std::string text;
  text.reserve(length);
  for (size_t i = 0; i < length; ++i) {
    // Without the bias of a remainder: the upper half of a product of 64 bits with the count.
    const auto product = static_cast<unsigned __int128>(random()) * characters.size();
    text += characters[static_cast<size_t>(product >> 64)];
  }
  return text;
}

}  // namespace sluice::plugins
