// Pseudo-random numbers for choices among endpoints. The state is one word of the caller's, seeded
// by it; nothing here is fit for secrets.
#pragma once

#include <cstdint>

namespace sluice::balancer {

// SplitMix64 (Steele, Lea, Flood 2014): one well-mixed number for each step of `state`.
inline uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// The upper half of a 64 by 64 bit product: maps a random or hashed `value` to [0, below).
inline uint64_t ScaleTo(uint64_t value, uint64_t below) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(value) * below) >> 64);
}

// `value` as a number in [0, 1).
inline double ToUnit(uint64_t value) { return static_cast<double>(value >> 11) * 0x1p-53; }

}  // namespace sluice::balancer
