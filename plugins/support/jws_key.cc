#include "plugins/support/jws_key.h"

#include <array>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

namespace sluice::plugins {
namespace {

constexpr size_t kMaxPemBytes = size_t{64} * 1024;
constexpr int kMinRsaBits = 2048;  // RFC 7518, section 3.3
constexpr int kMaxRsaBits = 8192;  // a verification takes 0.3 ms
constexpr int kMaxExponentBits = 64;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Pkey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using PkeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Free<EVP_MAC_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>>;
using BigNumber = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Memory = std::unique_ptr<BIO, Free<BIO_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD_free>>;
using Decoder = std::unique_ptr<OSSL_DECODER_CTX, Free<OSSL_DECODER_CTX_free>>;

// Whatever OpenSSL says stays out of the queue that TLS reads.
struct QuietErrors {
  ~QuietErrors() { ERR_clear_error(); }
};

enum class Family { kHmac, kRsa, kPss, kEc, kEd };

Family FamilyOf(JwsAlgorithm algorithm) {
  switch (algorithm) {
    case JwsAlgorithm::kHs256:
    case JwsAlgorithm::kHs384:
    case JwsAlgorithm::kHs512:
      return Family::kHmac;
    case JwsAlgorithm::kRs256:
    case JwsAlgorithm::kRs384:
    case JwsAlgorithm::kRs512:
      return Family::kRsa;
    case JwsAlgorithm::kPs256:
    case JwsAlgorithm::kPs384:
    case JwsAlgorithm::kPs512:
      return Family::kPss;
    case JwsAlgorithm::kEs256:
    case JwsAlgorithm::kEs384:
    case JwsAlgorithm::kEs512:
      return Family::kEc;
    case JwsAlgorithm::kEdDsa:
      break;
  }
  return Family::kEd;
}

// Fetched once in a process: a fetch by name takes longer than an HMAC.
struct Fetched {
  std::array<EVP_MD*, 3> digests = {EVP_MD_fetch(nullptr, "SHA256", nullptr),
                                    EVP_MD_fetch(nullptr, "SHA384", nullptr),
                                    EVP_MD_fetch(nullptr, "SHA512", nullptr)};
  EVP_MAC* hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
};

const Fetched& Crypto() {
  static const Fetched fetched;
  return fetched;
}

// The algorithms of a family stand in the order of their hashes.
size_t HashIndex(JwsAlgorithm algorithm) { return static_cast<size_t>(algorithm) % 3; }
EVP_MD* DigestOf(JwsAlgorithm algorithm) { return Crypto().digests[HashIndex(algorithm)]; }
const char* CurveOf(JwsAlgorithm algorithm) {
  constexpr std::array<const char*, 3> kCurves = {"prime256v1", "secp384r1", "secp521r1"};
  return kCurves[HashIndex(algorithm)];
}
size_t FieldSizeOf(JwsAlgorithm algorithm) {
  constexpr std::array<size_t, 3> kSizes = {32, 48, 66};
  return kSizes[HashIndex(algorithm)];
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Error BadKey(JwsAlgorithm algorithm, std::string_view detail) {
  return GatewayError(
      ErrorCode::kInvalidConfig,
      "key of " + std::string(JwsAlgorithmName(algorithm)) + ": " + std::string(detail));
}

Error NoMatch(std::string detail) {
  return ClientError(ErrorCode::kMalformedRequest, "token: " + std::move(detail));
}

// What OpenSSL prepares for a verification.
struct Context {
  MacContext mac;
  PkeyContext pkey;
  DigestContext digest;
};

// r and s as OpenSSL wants them: SEQUENCE { INTEGER, INTEGER } in DER.
class DerSignature {
 public:
  explicit DerSignature(std::string_view pair) {
    char* at = bytes_.data() + 3;  // the longest header: 30 81 xx
    at = AppendInteger(at, pair.substr(0, pair.size() / 2));
    at = AppendInteger(at, pair.substr(pair.size() / 2));
    const auto size = static_cast<size_t>(at - bytes_.data()) - 3;
    begin_ = size < 128 ? 1 : 0;
    bytes_[begin_] = 0x30;
    bytes_[begin_ + 1] = static_cast<char>(0x81);
    bytes_[2] = static_cast<char>(size);
    size_ = size + 3 - begin_;
  }
  const unsigned char* data() const { return Bytes({bytes_.data() + begin_, size_}); }
  size_t size() const { return size_; }

 private:
  static char* AppendInteger(char* at, std::string_view value) {
    while (value.size() > 1 && value.front() == '\0') value.remove_prefix(1);
    const bool high = (value.front() & 0x80) != 0;  // would read as negative
    *at++ = 0x02;
    *at++ = static_cast<char>(value.size() + (high ? 1 : 0));
    if (high) *at++ = '\0';
    std::memcpy(at, value.data(), value.size());
    return at + value.size();
  }

  std::array<char, 3 + 2 * (3 + 66)> bytes_{};
  size_t begin_ = 0;
  size_t size_ = 0;
};

}  // namespace

struct JwsKey::State {
  ~State() { OPENSSL_cleanse(secret.data(), secret.size()); }

  bool Prepare(Context& to) const;
  bool Matches(Context& with, const Jwt& token) const;
  bool MatchesMac(EVP_MAC_CTX* mac, const Jwt& token) const;
  bool MatchesEd(const Jwt& token) const;

  JwsAlgorithm algorithm{};
  Hash128 identity;
  std::string secret;
  Pkey pkey;
  size_t signature_size = 0;
  mutable std::mutex mutex;  // of `context`
  mutable Context context;
};

bool JwsKey::State::Prepare(Context& to) const {
  const Family family = FamilyOf(algorithm);
  if (family == Family::kEd) return true;
  if (family == Family::kHmac) {
    to.mac.reset(EVP_MAC_CTX_new(Crypto().hmac));
    std::string name = EVP_MD_get0_name(DigestOf(algorithm));
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.data(), 0),
        OSSL_PARAM_construct_end()};
    return to.mac && EVP_MAC_init(to.mac.get(), Bytes(secret), secret.size(), params) == 1;
  }
  to.digest.reset(EVP_MD_CTX_new());
  to.pkey.reset(EVP_PKEY_CTX_new_from_pkey(nullptr, pkey.get(), nullptr));
  if (!to.digest || !to.pkey || EVP_PKEY_verify_init(to.pkey.get()) != 1) return false;
  EVP_PKEY_CTX* const context_of = to.pkey.get();
  if (family != Family::kEc) {
    const int padding = family == Family::kPss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
    if (EVP_PKEY_CTX_set_rsa_padding(context_of, padding) != 1) return false;
  }
  if (EVP_PKEY_CTX_set_signature_md(context_of, DigestOf(algorithm)) != 1) return false;
  return family != Family::kPss ||
         (EVP_PKEY_CTX_set_rsa_mgf1_md(context_of, DigestOf(algorithm)) == 1 &&
          EVP_PKEY_CTX_set_rsa_pss_saltlen(context_of, RSA_PSS_SALTLEN_DIGEST) == 1);
}

bool JwsKey::State::MatchesMac(EVP_MAC_CTX* mac, const Jwt& token) const {
  unsigned char code[EVP_MAX_MD_SIZE];
  size_t size = 0;
  const std::string_view input = token.signing_input();
  return EVP_MAC_init(mac, nullptr, 0, nullptr) == 1 &&
         EVP_MAC_update(mac, Bytes(input), input.size()) == 1 &&
         EVP_MAC_final(mac, code, &size, sizeof(code)) == 1 && size == signature_size &&
         CRYPTO_memcmp(code, token.signature().data(), size) == 0;
}

bool JwsKey::State::MatchesEd(const Jwt& token) const {
  const DigestContext context_of(EVP_MD_CTX_new());
  return context_of &&
         EVP_DigestVerifyInit_ex(context_of.get(), nullptr, nullptr, nullptr, nullptr, pkey.get(),
                                 nullptr) == 1 &&
         EVP_DigestVerify(context_of.get(), Bytes(token.signature()), token.signature().size(),
                          Bytes(token.signing_input()), token.signing_input().size()) == 1;
}

bool JwsKey::State::Matches(Context& with, const Jwt& token) const {
  const Family family = FamilyOf(algorithm);
  if (family == Family::kEd) return MatchesEd(token);
  if (family == Family::kHmac) return MatchesMac(with.mac.get(), token);
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::string_view input = token.signing_input();
  if (EVP_DigestInit_ex2(with.digest.get(), DigestOf(algorithm), nullptr) != 1 ||
      EVP_DigestUpdate(with.digest.get(), input.data(), input.size()) != 1 ||
      EVP_DigestFinal_ex(with.digest.get(), hash, &size) != 1) {
    return false;
  }
  if (family == Family::kEc) {
    const DerSignature der(token.signature());
    return EVP_PKEY_verify(with.pkey.get(), der.data(), der.size(), hash, size) == 1;
  }
  return EVP_PKEY_verify(with.pkey.get(), Bytes(token.signature()), token.signature().size(), hash,
                         size) == 1;
}

JwsKey::JwsKey(std::unique_ptr<State> state) : state_(std::move(state)) {}
JwsKey::~JwsKey() = default;
JwsKey::JwsKey(JwsKey&&) noexcept = default;
JwsKey& JwsKey::operator=(JwsKey&&) noexcept = default;

JwsAlgorithm JwsKey::algorithm() const { return state_->algorithm; }
const Hash128& JwsKey::identity() const { return state_->identity; }

bool JwsKey::is_slow() const {
  const Family family = FamilyOf(algorithm());
  return family == Family::kEd || (family == Family::kEc && HashIndex(algorithm()) != 0) ||
         (state_->pkey && EVP_PKEY_get_bits(state_->pkey.get()) > 4096);
}

Status JwsKey::CheckForm(const Jwt& token) const {
  const std::string_view name = JwsAlgorithmName(algorithm());
  if (token.algorithm() != name) {
    return NoMatch("expected alg " + std::string(name) + " as its key has, got \"" +
                   std::string(token.algorithm().substr(0, 32)) + "\"");
  }
  if (token.signature().size() != state_->signature_size) {
    return NoMatch("expected a signature of " + std::to_string(state_->signature_size) +
                   " bytes for this key of " + std::string(name) + ", got " +
                   std::to_string(token.signature().size()));
  }
  return {};
}

Status JwsKey::Verify(const Jwt& token) const {
  SLUICE_TRY(CheckForm(token));
  bool matches = false;
  if (const std::unique_lock lock(state_->mutex, std::try_to_lock); lock.owns_lock()) {
    matches = state_->Matches(state_->context, token);
  } else {  // another thread is at it: no loop waits for a pool thread
    Context own;
    matches = state_->Prepare(own) && state_->Matches(own, token);
  }
  if (matches) return {};
  ERR_clear_error();
  return NoMatch("expected a signature by its key of " +
                 std::string(JwsAlgorithmName(algorithm())) + ", got one that does not match");
}

Result<JwsKey> JwsKey::FromSecret(JwsAlgorithm algorithm, std::string_view secret) {
  const QuietErrors quiet;
  if (FamilyOf(algorithm) != Family::kHmac) {
    return BadKey(algorithm, "expected a public key, got a secret");
  }
  if (secret.empty()) return BadKey(algorithm, "expected a secret, got an empty one");
  if (secret.find("-----BEGIN ") != std::string_view::npos) {
    return BadKey(algorithm, "expected a secret, got a key in PEM, which is not one");
  }
  auto state = std::make_unique<State>();
  state->algorithm = algorithm;
  state->secret = secret;
  state->signature_size = static_cast<size_t>(EVP_MD_get_size(DigestOf(algorithm)));
  state->identity = KeyedHash::OfProcess().Of({static_cast<uint64_t>(algorithm), 1}, state->secret);
  return FromState(std::move(state));
}

Result<JwsKey> JwsKey::FromState(std::unique_ptr<State> state) {
  if (!state->Prepare(state->context)) {
    return BadKey(state->algorithm, "OpenSSL cannot verify with it");
  }
  return JwsKey(std::move(state));
}

namespace {

// Pkey or why it cannot verify tokens of `algorithm`.
Status CheckRsa(JwsAlgorithm algorithm, EVP_PKEY* pkey) {
  if (EVP_PKEY_is_a(pkey, "RSA") != 1) return BadKey(algorithm, "expected an RSA key, got another");
  const int bits = EVP_PKEY_get_bits(pkey);
  if (bits < kMinRsaBits || bits > kMaxRsaBits) {
    return BadKey(algorithm,
                  "expected an RSA key of 2048 to 8192 bits, got one of " + std::to_string(bits));
  }
  BIGNUM* read = nullptr;
  const bool known = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &read) == 1;
  const BigNumber exponent(read);
  if (!known || !BN_is_odd(read) || BN_is_one(read) || BN_num_bits(read) > kMaxExponentBits) {
    return BadKey(algorithm, "expected an odd public exponent from 3 to 2^64, got another");
  }
  return {};
}

Status CheckEc(JwsAlgorithm algorithm, EVP_PKEY* pkey) {
  char name[64] = "no named curve";
  if (EVP_PKEY_is_a(pkey, "EC") != 1) {
    return BadKey(algorithm, "expected a key of an elliptic curve, got another");
  }
  if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), nullptr) != 1 ||
      std::string_view(name) != CurveOf(algorithm)) {
    return BadKey(algorithm, std::string("expected a key of the curve ") + CurveOf(algorithm) +
                                 ", got " + name);
  }
  const PkeyContext check(EVP_PKEY_CTX_new_from_pkey(nullptr, pkey, nullptr));
  if (!check || EVP_PKEY_public_check(check.get()) != 1) {
    return BadKey(algorithm, "expected a point of the curve, got another");
  }
  return {};
}

// The length of signatures by `pkey`, which must be a key of `algorithm`.
Result<size_t> CheckPublicKey(JwsAlgorithm algorithm, EVP_PKEY* pkey) {
  switch (FamilyOf(algorithm)) {
    case Family::kHmac:
      return BadKey(algorithm, "expected a secret, got a public key");
    case Family::kRsa:
    case Family::kPss:
      SLUICE_TRY(CheckRsa(algorithm, pkey));
      return static_cast<size_t>(EVP_PKEY_get_size(pkey));
    case Family::kEc:
      SLUICE_TRY(CheckEc(algorithm, pkey));
      return 2 * FieldSizeOf(algorithm);
    case Family::kEd:
      break;
  }
  if (EVP_PKEY_is_a(pkey, "ED25519") != 1 && EVP_PKEY_is_a(pkey, "ED448") != 1) {
    return BadKey(algorithm, "expected a key of Ed25519 or Ed448, got another");
  }
  return static_cast<size_t>(EVP_PKEY_get_size(pkey));
}

// What there is instead of a pass phrase: none, and nobody is asked for it.
int NoPassword(char*, int, int, void*) { return 0; }

Pkey ReadPem(std::string_view pem) {
  if (pem.find("-----BEGIN CERTIFICATE-----") != std::string_view::npos) {
    const Memory memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    X509* const certificate = PEM_read_bio_X509(memory.get(), nullptr, NoPassword, nullptr);
    if (certificate == nullptr) return nullptr;
    Pkey pkey(X509_get_pubkey(certificate));
    X509_free(certificate);
    return pkey;
  }
  EVP_PKEY* pkey = nullptr;
  const Decoder decoder(OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", nullptr, nullptr,
                                                      EVP_PKEY_PUBLIC_KEY, nullptr, nullptr));
  const unsigned char* at = Bytes(pem);
  size_t rest = pem.size();
  if (!decoder || OSSL_DECODER_from_data(decoder.get(), &at, &rest) != 1) return nullptr;
  return Pkey(pkey);
}

Pkey FromParams(const char* type, OSSL_PARAM_BLD* builder) {
  const Params params(OSSL_PARAM_BLD_to_param(builder));
  const PkeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* pkey = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &pkey, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return nullptr;
  }
  return Pkey(pkey);
}

BigNumber ToNumber(std::string_view bytes) {
  return BigNumber(BN_bin2bn(Bytes(bytes), static_cast<int>(bytes.size()), nullptr));
}

Hash128 IdentityOf(JwsAlgorithm algorithm, EVP_PKEY* pkey) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(pkey, &der);
  SLUICE_CHECK(size > 0);  // a key that was read can be written
  const std::string_view bytes(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  const Hash128 identity = KeyedHash::OfProcess().Of({static_cast<uint64_t>(algorithm), 2}, bytes);
  OPENSSL_free(der);
  return identity;
}

}  // namespace

Result<JwsKey> JwsKey::FromPkey(JwsAlgorithm algorithm, void* owned) {
  Pkey pkey(static_cast<EVP_PKEY*>(owned));
  if (!pkey) return BadKey(algorithm, "expected a public key, got what OpenSSL cannot read");
  SLUICE_ASSIGN_OR_RETURN(const size_t size, CheckPublicKey(algorithm, pkey.get()));
  auto state = std::make_unique<State>();
  state->algorithm = algorithm;
  state->signature_size = size;
  state->identity = IdentityOf(algorithm, pkey.get());
  state->pkey = std::move(pkey);
  return FromState(std::move(state));
}

Result<JwsKey> JwsKey::FromPem(JwsAlgorithm algorithm, std::string_view pem) {
  const QuietErrors quiet;
  if (pem.size() > kMaxPemBytes) {
    return BadKey(algorithm,
                  "expected PEM of at most 64 KiB, got " + std::to_string(pem.size()) + " bytes");
  }
  if (pem.find("PRIVATE KEY-----") != std::string_view::npos) {
    return BadKey(algorithm, "expected a public key, got a private one");
  }
  if (pem.find("-----BEGIN ") == std::string_view::npos) {
    return BadKey(algorithm, "expected a public key in PEM (-----BEGIN PUBLIC KEY-----)");
  }
  return FromPkey(algorithm, ReadPem(pem).release());
}

Result<JwsKey> JwsKey::FromRsa(JwsAlgorithm algorithm, std::string_view modulus,
                               std::string_view exponent) {
  const QuietErrors quiet;
  if (modulus.size() > kMaxRsaBits / 8 || exponent.size() > kMaxExponentBits / 8) {
    return BadKey(algorithm, "expected a modulus of at most 1024 bytes and an exponent of 8, got " +
                                 std::to_string(modulus.size()) + " and " +
                                 std::to_string(exponent.size()));
  }
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  const BigNumber n = ToNumber(modulus);
  const BigNumber e = ToNumber(exponent);
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get());
  OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get());
  return FromPkey(algorithm, FromParams("RSA", builder.get()).release());
}

Result<JwsKey> JwsKey::FromEc(JwsAlgorithm algorithm, std::string_view x, std::string_view y) {
  const QuietErrors quiet;
  const size_t size = FieldSizeOf(algorithm);
  if (FamilyOf(algorithm) != Family::kEc || x.size() != size || y.size() != size) {
    return BadKey(algorithm, "expected coordinates of " + std::to_string(size) + " bytes, got " +
                                 std::to_string(x.size()) + " and " + std::to_string(y.size()));
  }
  std::string point = "\x04";  // uncompressed
  point.append(x).append(y);
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, CurveOf(algorithm), 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                   point.size());
  return FromPkey(algorithm, FromParams("EC", builder.get()).release());
}

Result<JwsKey> JwsKey::FromEd(std::string_view curve, std::string_view x) {
  const QuietErrors quiet;
  if (curve != "Ed25519" && curve != "Ed448") {
    return BadKey(JwsAlgorithm::kEdDsa, "expected the curve Ed25519 or Ed448, got another");
  }
  const char* const type = curve == "Ed25519" ? "ED25519" : "ED448";
  return FromPkey(JwsAlgorithm::kEdDsa,
                  EVP_PKEY_new_raw_public_key_ex(nullptr, type, nullptr, Bytes(x), x.size()));
}

}  // namespace sluice::plugins
