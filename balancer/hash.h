// Hashes of keys and names. Their values decide where a user's requests go, so they never change:
// they are the same in every process, release and machine.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::balancer {

// CRC-32 of IEEE 802.3 (zlib's and nginx's) of `bytes`, continuing from the CRC `before` them.
uint32_t Crc32(std::string_view bytes, uint32_t before = 0);

// 64 well-mixed bits of `bytes`; another `seed` gives an independent hash. Not for keys that an
// attacker must not be able to make collide.
uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0);

}  // namespace sluice::balancer
