// Comparing what a client sent with a secret, without a hint in the time it takes.
#pragma once

#include <string_view>

#include "gateway/base/keyed_hash.h"

namespace sluice::plugins {

// Equal? Takes a time that depends on the lengths of both alone, never on where they differ. For a
// table of secrets (API keys) look up KeyedHash::OfProcess().Of(sent) instead: whoever does not
// know the key of the hash cannot tell from the time how much of a guess was right, and the table
// holds no secrets.
inline bool EqualSecrets(std::string_view sent, std::string_view secret) {
  const KeyedHash& hash = KeyedHash::OfProcess();
  const Hash128 a = hash.Of(sent);
  const Hash128 b = hash.Of(secret);
  return ((a.low ^ b.low) | (a.high ^ b.high)) == 0;
}

}  // namespace sluice::plugins
