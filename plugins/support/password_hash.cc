#include "plugins/support/password_hash.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <crypt.h>

#include "gateway/base/text.h"
#include "plugins/support/secret_compare.h"

namespace sluice::plugins {
namespace {

struct Method {
  std::string_view prefix;
  size_t hash_size;  // of what stands behind the last '$'
};

constexpr Method kMethods[] = {{"$2a$", 53}, {"$2b$", 53}, {"$2y$", 53},
                               {"$5$", 43},  {"$6$", 86},  {"$y$", 43}};
constexpr uint64_t kMostBcryptCost = 14;
constexpr uint64_t kMostRounds = 1'000'000;
// Of yescrypt the costs 1 to 8 as crypt_gensalt(3) writes them: each takes twice the memory of the
// one before, the last 128 MiB.
constexpr std::string_view kYescryptCosts[] = {"j75", "j85", "j7T", "j8T",
                                               "j9T", "jAT", "jBT", "jCT"};

Error Bad(std::string detail) { return GatewayError(ErrorCode::kInvalidConfig, std::move(detail)); }

bool IsHashCharacter(char c) {
  return IsDigit(c) || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z') || c == '.' || c == '/';
}

// "10" of "$2b$10$...", "5000" of "$6$rounds=5000$...", "j9T" of "$y$j9T$...".
Status CheckCost(std::string_view hash) {
  const std::string_view field = Split(hash, '$')[2];
  constexpr std::string_view kRounds = "rounds=";
  if (hash.starts_with("$2")) {
    const auto cost = ParseDecimal(field);
    if (cost && *cost <= kMostBcryptCost) return {};
    return Bad("expected a bcrypt cost up to 14, got " + std::string(field));
  }
  if (hash.starts_with("$y$")) {
    const auto* const last = std::end(kYescryptCosts);
    if (std::find(std::begin(kYescryptCosts), last, field) != last) return {};
    return Bad("expected a yescrypt cost up to 8, got parameters " + std::string(field));
  }
  if (!field.starts_with(kRounds)) return {};
  const auto rounds = ParseDecimal(field.substr(kRounds.size()));
  if (rounds && *rounds <= kMostRounds) return {};
  return Bad("expected up to 1000000 rounds, got " + std::string(field));
}

}  // namespace

Status CheckPasswordHash(std::string_view hash) {
  const auto* const method =
      std::find_if(std::begin(kMethods), std::end(kMethods),
                   [hash](const Method& known) { return hash.starts_with(known.prefix); });
  const std::string_view last = hash.substr(hash.rfind('$') + 1);
  if (method == std::end(kMethods) || last.size() != method->hash_size ||
      !std::all_of(last.begin(), last.end(), IsHashCharacter) ||
      crypt_checksalt(std::string(hash).c_str()) == CRYPT_SALT_INVALID) {
    return Bad(
        "expected a hash of crypt(3) in bcrypt, SHA-512, SHA-256 or yescrypt, such as "
        "\"openssl passwd -6\" writes it");
  }
  return CheckCost(hash);
}

bool MatchesPasswordHash(const std::string& password, const std::string& hash) {
  if (password.find('\0') != std::string::npos) return false;  // it would end there
  const auto scratch = std::make_unique<crypt_data>();
  const char* const found = crypt_r(password.c_str(), hash.c_str(), scratch.get());
  return found != nullptr && EqualSecrets(found, hash);
}

}  // namespace sluice::plugins
