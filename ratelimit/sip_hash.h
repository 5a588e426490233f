// SipHash-2-4 with 128 bits (Aumasson, Bernstein 2012): a hash that nobody who does not know the
// secret can make collide.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice::ratelimit {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;

  friend bool operator==(const Hash128&, const Hash128&) = default;
};

// `secret`: 16 random bytes as two little-endian numbers. The result too, so that it can serve as
// the secret of a hash in turn.
Hash128 SipHash(const Hash128& secret, std::string_view bytes);

}  // namespace sluice::ratelimit
