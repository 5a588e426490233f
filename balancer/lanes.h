// Four endpoints at a time, for algorithms that look at all of them: the vector types of g++ and
// clang, which become SSE2 or NEON without a build for a certain processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "balancer/balancer.h"

namespace sluice::balancer {

using FloatLanes = float __attribute__((vector_size(16)));
using IntLanes = int32_t __attribute__((vector_size(16)));
inline constexpr size_t kLanes = 4;

inline IntLanes LoadLanes(const void* from) {
  IntLanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// In one store, so that LoadLanes need not wait for four to arrive.
inline void StoreLanes(void* to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  using Unsigned = uint32_t __attribute__((vector_size(16)));
  const Unsigned lanes = {a, b, c, d};
  std::memcpy(to, &lanes, sizeof lanes);
}

// Unsigned numbers as floats; 2^31 and more become 2^31 - 1.
inline FloatLanes ToFloats(IntLanes lanes) {
  lanes = (lanes | (lanes >> 31)) & 0x7fffffff;
  return __builtin_convertvector(lanes, FloatLanes);
}

// Weights of four endpoints, and for each zero when it is eligible, else all ones.
struct ViewLanes {
  FloatLanes weight;
  IntLanes ineligible;
};

inline ViewLanes LoadViews(const EndpointView* from) {
  static_assert(sizeof(EndpointView) == 8 && offsetof(EndpointView, eligible) == 4);
  const IntLanes low = LoadLanes(from);
  const IntLanes high = LoadLanes(from + 2);
  const IntLanes flag = __builtin_shufflevector(low, high, 1, 3, 5, 7) & 0xff;  // drops padding
  return {ToFloats(__builtin_shufflevector(low, high, 0, 2, 4, 6)), flag == 0};
}

}  // namespace sluice::balancer
