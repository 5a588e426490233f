// Makes tokens for tests and measurements: keys of every algorithm, and signatures by OpenSSL's
// one-shot calls, which the code under test does not use.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "gateway/base/base64.h"
#include "plugins/support/jws_key.h"

namespace sluice::plugins {

inline void Must(bool condition) {
  if (!condition) std::abort();
}

class TokenSigner {
 public:
  // RSA keys take long to make: there are two, by `number`. All other keys are new ones.
  explicit TokenSigner(std::string algorithm, size_t number = 0)
      : algorithm_(std::move(algorithm)) {
    const char family = algorithm_[0];
    if (family == 'R' || family == 'P') key_.reset(RsaKey(number));
    if (algorithm_ == "ES256") key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    if (algorithm_ == "ES384") key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-384"));
    if (algorithm_ == "ES512") key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-521"));
    if (family == 'E' && algorithm_[1] == 'd') {
      key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    }
    Must(family == 'H' || key_ != nullptr);
  }

  JwsAlgorithm algorithm() const { return ParseJwsAlgorithm(algorithm_).value(); }
  const std::string& secret() const { return secret_; }

  std::string Pem() const {
    BIO* const memory = BIO_new(BIO_s_mem());
    Must(PEM_write_bio_PUBKEY(memory, key_.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(memory, &text);
    std::string pem(text, static_cast<size_t>(size));
    BIO_free(memory);
    return pem;
  }

  JwsKey Key() const {
    return key_ == nullptr ? JwsKey::FromSecret(algorithm(), secret_).value()
                           : JwsKey::FromPem(algorithm(), Pem()).value();
  }

  // A number of the public key, big-endian: OSSL_PKEY_PARAM_RSA_N …
  std::string Number(const char* name, size_t size) const {
    BIGNUM* number = nullptr;
    Must(EVP_PKEY_get_bn_param(key_.get(), name, &number) == 1);
    if (size == 0) size = static_cast<size_t>(BN_num_bytes(number));
    std::string bytes(size, '\0');
    BN_bn2binpad(number, Mutable(bytes), static_cast<int>(size));
    BN_free(number);
    return bytes;
  }
  std::string RawPublicKey() const {
    std::string bytes(32, '\0');
    size_t size = bytes.size();
    Must(EVP_PKEY_get_raw_public_key(key_.get(), Mutable(bytes), &size) == 1);
    return bytes;
  }

  // The bytes of a signature in the form of RFC 7518.
  std::string Sign(std::string_view input) const {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(input.data());
    std::string out(1024, '\0');
    if (key_ == nullptr) {
      unsigned int size = 0;
      HMAC(Digest(), secret_.data(), static_cast<int>(secret_.size()), bytes, input.size(),
           Mutable(out), &size);
      return out.substr(0, size);
    }
    EVP_MD_CTX* const context = EVP_MD_CTX_new();
    EVP_PKEY_CTX* options = nullptr;
    Must(EVP_DigestSignInit(context, &options, Digest(), nullptr, key_.get()) == 1);
    if (algorithm_[0] == 'P') {
      EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST);
    }
    size_t size = out.size();
    Must(EVP_DigestSign(context, Mutable(out), &size, bytes, input.size()) == 1);
    EVP_MD_CTX_free(context);
    out.resize(size);
    return algorithm_.starts_with("ES") ? Pair(out) : out;
  }

  // A whole token with this header and these claims, both as they are written.
  std::string Token(std::string_view header, std::string_view claims) const {
    std::string token =
        EncodeBase64(header, Base64::kUrl) + "." + EncodeBase64(claims, Base64::kUrl);
    return token + "." + EncodeBase64(Sign(token), Base64::kUrl);
  }
  std::string Token(std::string_view claims) const {
    return Token(R"({"alg":")" + algorithm_ + R"(","typ":"JWT"})", claims);
  }

 private:
  struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };

  static EVP_PKEY* RsaKey(size_t number) {
    static EVP_PKEY* const keys[] = {EVP_RSA_gen(2048), EVP_RSA_gen(2048)};
    Must(EVP_PKEY_up_ref(keys[number]) == 1);
    return keys[number];
  }
  static unsigned char* Mutable(std::string& text) {
    return reinterpret_cast<unsigned char*>(text.data());
  }
  const EVP_MD* Digest() const {
    if (algorithm_ == "EdDSA") return nullptr;
    if (algorithm_.ends_with("256")) return EVP_sha256();
    return algorithm_.ends_with("384") ? EVP_sha384() : EVP_sha512();
  }
  std::string Pair(const std::string& der) const {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    ECDSA_SIG* const signature = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
    Must(signature != nullptr);
    const int size = algorithm_ == "ES256" ? 32 : algorithm_ == "ES384" ? 48 : 66;
    std::string out(static_cast<size_t>(2 * size), '\0');
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), Mutable(out), size);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), Mutable(out) + size, size);
    ECDSA_SIG_free(signature);
    return out;
  }

  std::string algorithm_;
  std::string secret_ = "a-secret-of-sixty-four-bytes-that-nobody-but-these-tests-is-told";
  std::unique_ptr<EVP_PKEY, FreeKey> key_;
};

}  // namespace sluice::plugins
