// Public keys as JSON (RFC 7517): one JWK, or a set as an issuer publishes it at its jwks_uri. Read
// when a configuration or a set is loaded, then constant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "plugins/support/jws_key.h"

namespace sluice::plugins {

class JwkSet {
 public:
  static constexpr size_t kMaxBytes = size_t{256} * 1024;
  static constexpr size_t kMaxKeys = 100;

  struct Key {
    std::string id;  // kid; may be empty
    JwsKey key;
  };

  // A set ({"keys": [...]}) or a single key. Keys that are not for verifying tokens, or of a kind
  // that is not known, are left out and named in skipped() (RFC 7517, section 5); a broken document
  // and a set without any key that can be used are errors. The algorithm is the key's alg; without
  // one it is that of its curve, or `rsa` for RSA. Secrets (kty oct) are left out: what is
  // published is none.
  static Result<JwkSet> Make(std::string_view json, JwsAlgorithm rsa = JwsAlgorithm::kRs256);

  // The key that the token names by kid; without a kid the only key of the token's algorithm. Null
  // when there is none. The token is not verified by that.
  const JwsKey* Find(const Jwt& token) const;

  const std::vector<Key>& keys() const { return keys_; }
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  std::vector<Key> keys_;
  std::vector<std::string> skipped_;
};

}  // namespace sluice::plugins
