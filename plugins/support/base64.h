// Base64 (RFC 4648 4) in configurations.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::plugins {

// Null for text that is not base64; padding may be left out.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace sluice::plugins
