#include "ratelimit/sip_hash.h"

#include <bit>
#include <cstddef>
#include <cstring>

namespace sluice::ratelimit {
namespace {

static_assert(std::endian::native == std::endian::little);

struct State {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32) + v3;
      v2 += v1;
      v3 = std::rotl(v3, 21) ^ v0;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }
  void Take(uint64_t word) {
    v3 ^= word;
    Rounds(2);
    v0 ^= word;
  }
  uint64_t Mixed() {
    Rounds(4);
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

Hash128 SipHash(const Hash128& secret, std::string_view bytes) {
  State state{.v0 = secret.low ^ 0x736f6d6570736575,
              .v1 = secret.high ^ 0x646f72616e646f6d ^ 0xee,
              .v2 = secret.low ^ 0x6c7967656e657261,
              .v3 = secret.high ^ 0x7465646279746573};
  uint64_t last = uint64_t{bytes.size()} << 56;
  while (bytes.size() >= sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    state.Take(word);
    bytes.remove_prefix(sizeof word);
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    last |= uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
  }
  state.Take(last);
  state.v2 ^= 0xee;
  const uint64_t low = state.Mixed();
  state.v1 ^= 0xdd;
  return {low, state.Mixed()};
}

}  // namespace sluice::ratelimit
