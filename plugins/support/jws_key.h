// A key that verifies the signatures of tokens with one algorithm, which is the key's and never the
// token's (RFC 8725, section 3.1). Read once from the configuration or a JWK; constant; used by any
// thread. What OpenSSL needs for a verification is prepared once and used again.
#pragma once

#include <memory>
#include <string_view>

#include "gateway/base/keyed_hash.h"
#include "gateway/base/result.h"
#include "plugins/support/jwt.h"

namespace sluice::plugins {

class JwsKey {
 public:
  // HS256, HS384, HS512. The bytes of the secret are its key; a PEM key is refused, since it is
  // public or belongs to another algorithm.
  static Result<JwsKey> FromSecret(JwsAlgorithm algorithm, std::string_view secret);

  // All others: a public key ("PUBLIC KEY", "RSA PUBLIC KEY") or a certificate. The key must be of
  // the algorithm's type: RSA of 2048 to 8192 bits, the curve of ES*, Ed25519 or Ed448.
  static Result<JwsKey> FromPem(JwsAlgorithm algorithm, std::string_view pem);

  // From the parts of a JWK, as big-endian bytes (RFC 7518, section 6; RFC 8037).
  static Result<JwsKey> FromRsa(JwsAlgorithm algorithm, std::string_view modulus,
                                std::string_view exponent);
  static Result<JwsKey> FromEc(JwsAlgorithm algorithm, std::string_view x, std::string_view y);
  static Result<JwsKey> FromEd(std::string_view curve, std::string_view x);

  ~JwsKey();
  JwsKey(JwsKey&&) noexcept;
  JwsKey& operator=(JwsKey&&) noexcept;

  JwsAlgorithm algorithm() const;
  // Differs from that of any other key or algorithm in this process.
  const Hash128& identity() const;

  // Does a verification take longer than a loop may be held (100 us)? Then it belongs on a pool
  // thread, unless the token is among those verified.
  bool is_slow() const;

  // The part of Verify that costs nothing: is it a token of this algorithm, with a signature as
  // long as this key's are?
  Status CheckForm(const Jwt& token) const;

  // Is the token signed by this key? Compares in constant time where there is something to guess.
  Status Verify(const Jwt& token) const;

 private:
  struct State;
  explicit JwsKey(std::unique_ptr<State> state);
  static Result<JwsKey> FromState(std::unique_ptr<State> state);
  static Result<JwsKey> FromPkey(JwsAlgorithm algorithm, void* owned);  // EVP_PKEY

  std::unique_ptr<State> state_;
};

}  // namespace sluice::plugins
