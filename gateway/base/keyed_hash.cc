#include "gateway/base/keyed_hash.h"

#include <bit>
#include <cstring>

#include <sys/random.h>

#include "gateway/base/result.h"

namespace sluice {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

uint64_t Word(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

struct SipState {
  uint64_t a, b, c, d;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      a += b;
      b = std::rotl(b, 13) ^ a;
      a = std::rotl(a, 32);
      c += d;
      d = std::rotl(d, 16) ^ c;
      a += d;
      d = std::rotl(d, 21) ^ a;
      c += b;
      b = std::rotl(b, 17) ^ c;
      c = std::rotl(c, 32);
    }
  }
  void Take(uint64_t word) {
    d ^= word;
    Rounds(2);
    a ^= word;
  }
  uint64_t Finish(uint64_t mark, uint64_t& at) {
    at ^= mark;
    Rounds(4);
    return a ^ b ^ c ^ d;
  }
};

}  // namespace

KeyedHash::KeyedHash() {
  uint64_t key[2];
  // A request of so few bytes is never cut short (getrandom(2)); it fails only where there is no
  // such call.
  SLUICE_CHECK(getrandom(key, sizeof(key), 0) == sizeof(key));
  key0_ = key[0];
  key1_ = key[1];
}

KeyedHash::KeyedHash(const std::array<uint8_t, 16>& key) {
  std::memcpy(&key0_, key.data(), sizeof(key0_));
  std::memcpy(&key1_, key.data() + sizeof(key0_), sizeof(key1_));
}

Hash128 KeyedHash::Of(const Hash128& context, std::string_view text) const {
  SipState state{0x736f6d6570736575 ^ key0_, 0x646f72616e646f6d ^ key1_ ^ 0xee,
                 0x6c7967656e657261 ^ key0_, 0x7465646279746573 ^ key1_};
  // All inputs begin with sixteen bytes of context, so that no text can look like a context.
  state.Take(context.low);
  state.Take(context.high);
  const char* at = text.data();
  size_t rest = text.size();
  for (; rest >= 8; rest -= 8, at += 8) state.Take(Word(at));
  uint64_t last = static_cast<uint64_t>(text.size() + sizeof(context)) << 56;
  for (size_t i = 0; i < rest; ++i) last |= uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  state.Take(last);
  const uint64_t low = state.Finish(0xee, state.c);
  const uint64_t high = state.Finish(0xdd, state.b);
  return {low, high};
}

const KeyedHash& KeyedHash::OfProcess() {
  static const KeyedHash hash;
  return hash;
}

}  // namespace sluice
