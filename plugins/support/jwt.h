// A JSON Web Token (RFC 7519) as a signed token in compact form (RFC 7515): taken apart and its
// claims checked; jws_key.h checks the signature. Nothing of a token may be believed before that:
// what it says of keys (jwk, jku, x5u, x5c) is never looked at, its alg only compared with that of
// the key. One object for each worker, reused from token to token; at most kMaxBytes of each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "plugins/support/flat_json.h"

namespace sluice::plugins {

enum class JwsAlgorithm : uint8_t {
  kHs256,
  kHs384,
  kHs512,  // HMAC with SHA-2
  kRs256,
  kRs384,
  kRs512,  // RSASSA-PKCS1-v1_5
  kPs256,
  kPs384,
  kPs512,  // RSASSA-PSS, salt as long as the hash
  kEs256,
  kEs384,
  kEs512,  // ECDSA with P-256, P-384, P-521
  kEdDsa,  // Ed25519, Ed448 (RFC 8037)
};

// Names of RFC 7518, case-sensitive; nothing for "none" and all others.
std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name);
std::string_view JwsAlgorithmName(JwsAlgorithm algorithm);

class Jwt {
 public:
  static constexpr size_t kMaxBytes = 8192;        // of the whole token
  static constexpr size_t kMaxHeaderBytes = 4096;  // of its first part, in base64

  Jwt();

  // Takes `token` apart, which must live as long as this is used. Refuses what is not a signed
  // token with a JSON object as its claims: encrypted and nested tokens, crit, b64. Without an
  // error, header() and claims() are what the token says, verified by nobody.
  Status Parse(std::string_view token);

  std::string_view algorithm() const { return algorithm_; }
  std::optional<std::string_view> key_id() const { return key_id_; }
  const FlatJson& header() const { return header_; }
  const FlatJson& claims() const { return claims_; }
  std::string_view signing_input() const { return signing_input_; }
  std::string_view signature() const { return signature_; }  // decoded

 private:
  Status ReadHeader(std::string_view part);
  Status ReadClaims(std::string_view part);
  Status CheckHeader();

  FlatJson header_;
  FlatJson claims_;
  std::unique_ptr<char[]> buffer_;  // the three parts, decoded
  size_t used_ = 0;
  std::string_view algorithm_;
  std::optional<std::string_view> key_id_;
  std::string_view signing_input_;
  std::string_view signature_;
};

// What claims must say.
struct ClaimRules {
  enum class Need : uint8_t { kIgnored, kIfPresent, kRequired };

  Need expiry = Need::kRequired;             // exp
  Need not_before = Need::kIfPresent;        // nbf
  seconds leeway{0};                         // between the clocks of issuer and gateway
  std::span<const std::string> issuers{};    // iss must be one of them; empty: any or none
  std::span<const std::string> audiences{};  // aud must name one of them; empty: any or none
};

// When a token may be used, in seconds since 1970, leeway included: from <= now < until.
struct ValidTime {
  int64_t from = INT64_MIN;
  int64_t until = INT64_MAX;
};

// Checks claims at the time `now` (RFC 7519, section 4.1). Times must be whole seconds, not
// negative.
Result<ValidTime> CheckClaims(const FlatJson& claims, const ClaimRules& rules, WallTime now);

}  // namespace sluice::plugins
