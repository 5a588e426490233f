// Identifiers for requests, made of random bits and the time. Names, not secrets.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "gateway/base/time.h"

namespace sluice::plugins {

using RandomBits = std::function<uint64_t()>;

// RFC 9562, version 4: "7c1a4d0e-9b1f-4c55-a3c2-0d5f6e7a8b9c".
std::string MakeUuidV4(const RandomBits& random);
// RFC 9562, version 7: begins with the time, so that identifiers sort by it.
std::string MakeUuidV7(WallTime now, const RandomBits& random);
// 21 characters that a URI may hold, as the library of that name makes them.
std::string MakeNanoId(const RandomBits& random);
// 27 characters that sort by the second: 4 bytes of time, 16 random ones, in base 62.
std::string MakeKsuid(WallTime now, const RandomBits& random);
// So many characters of a set. Precondition: it is not empty.
std::string MakeFromSet(std::string_view characters, size_t length, const RandomBits& random);

}  // namespace sluice::plugins
