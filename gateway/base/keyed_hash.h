// A 128-bit hash under a secret key: SipHash-2-4 (Aumasson, Bernstein 2012). Who does not know the
// key cannot find two texts with the same hash, so that the hash may stand for a text that a peer
// chose (a token, an API key) in a table, and such a table cannot be filled unevenly. Values are
// good within the process that made the key; they are no signatures and not for storage.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

class KeyedHash {
 public:
  KeyedHash();  // with a random key of the operating system
  explicit KeyedHash(const std::array<uint8_t, 16>& key);

  Hash128 Of(std::string_view text) const { return Of({}, text); }
  // Of both, in this order: what `text` is within `context`. Differs from that of any other pair.
  Hash128 Of(const Hash128& context, std::string_view text) const;

  // The key of this process, made at the first call.
  static const KeyedHash& OfProcess();

 private:
  uint64_t key0_;
  uint64_t key1_;
};

}  // namespace sluice
