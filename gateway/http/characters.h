// The character classes of RFC 9110 and RFC 3986 as one table, and word-wise scans over them. Used
// inside gateway/http, where each byte of a head is looked at.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sluice::characters {

enum Class : uint8_t {
  kToken = 1,       // tchar, RFC 9110 5.6.2
  kHost = 2,        // in a registered name: unreserved and sub-delims but no comma
  kUnreserved = 4,  // RFC 3986 2.3
  kPath = 8,        // may stand raw in a path: pchar and '/'
};

constexpr std::array<uint8_t, 256> MakeTable() {
  std::array<uint8_t, 256> table{};
  const auto add = [&table](std::string_view set, int classes) {
    for (const char c : set) table[static_cast<uint8_t>(c)] |= static_cast<uint8_t>(classes);
  };
  add("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~",
      kToken | kHost | kUnreserved | kPath);
  add("!#$%&'*+^`|", kToken);
  add("!$&'()*+;=", kHost | kPath);
  add(",:@/", kPath);
  return table;
}
inline constexpr std::array<uint8_t, 256> kTable = MakeTable();

constexpr bool Is(char c, Class wanted) { return (kTable[static_cast<uint8_t>(c)] & wanted) != 0; }

constexpr bool All(std::string_view text, Class wanted) {
  for (const char c : text) {
    if (!Is(c, wanted)) return false;
  }
  return true;
}

// Does one of the eight bytes lie below `limit` (at most 0x80) or equal 0x7f? The usual carry
// trick: exact for "is there any", which is all that is asked.
inline bool HasControl(uint64_t word, uint8_t limit) {
  constexpr uint64_t kOnes = 0x0101010101010101U;
  constexpr uint64_t kHighs = 0x8080808080808080U;
  const uint64_t below = (word - kOnes * limit) & ~word & kHighs;
  const uint64_t no_del = word ^ (kOnes * 0x7f);
  const uint64_t del = (no_del - kOnes) & ~no_del & kHighs;
  return (below | del) != 0;
}

// Is each byte of `text` at least `limit` and not DEL? A `false` may be due to an allowed byte that
// the caller then looks for byte by byte.
inline bool IsPlain(std::string_view text, uint8_t limit) {
  const auto has_control = [limit](const char* bytes) {
    uint64_t word;
    std::memcpy(&word, bytes, sizeof(word));
    return HasControl(word, limit);
  };
  const char* data = text.data();
  const char* const end = data + text.size();
  if (text.size() >= 8) {
    for (; end - data > 8; data += 8) {
      if (has_control(data)) return false;
    }
    return !has_control(end - 8);  // overlaps what was looked at
  }
  for (; data != end; ++data) {
    const auto byte = static_cast<uint8_t>(*data);
    if (byte < limit || byte == 0x7f) return false;
  }
  return true;
}

}  // namespace sluice::characters
