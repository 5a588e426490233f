#include "gateway/net/tls_certificate.h"

#include <limits>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace sluice {

void TlsDeleter::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }
void TlsDeleter::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }
void TlsDeleter::operator()(ssl_session_st* session) const { SSL_SESSION_free(session); }
void TlsDeleter::operator()(ssl_st* connection) const { SSL_free(connection); }
void TlsDeleter::operator()(x509_st* certificate) const { X509_free(certificate); }
void TlsDeleter::operator()(x509_store_st* store) const { X509_STORE_free(store); }

namespace {

struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioDeleter>;

// PEM files are small; a longer one is no certificate.
constexpr size_t kMaximumPem = 4 * 1024 * 1024;

BioPtr OpenPem(std::string_view pem) {
  ERR_clear_error();
  if (pem.size() > kMaximumPem) return nullptr;
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Error Invalid(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

// A key with a pass phrase must not make the process ask for it on a terminal.
int RefusePassword(char*, int, int, void*) { return -1; }

Result<std::vector<X509Ptr>> ReadCertificates(std::string_view pem) {
  const BioPtr bio = OpenPem(pem);
  if (bio == nullptr) return Invalid("expected PEM text of at most 4 MiB");
  std::vector<X509Ptr> list;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, RefusePassword, nullptr)) {
    list.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!list.empty() && at_end) {
    ERR_clear_error();
    return list;
  }
  return Invalid("expected a certificate in PEM (-----BEGIN CERTIFICATE-----), certificate " +
                 std::to_string(list.size() + 1) + " cannot be read: " + TakeTlsError());
}

// Empty when it is not base64.
std::string DecodeBase64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > kMaximumPem) return {};
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return {};
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  out.resize(static_cast<size_t>(size) - padding);
  return out;
}

std::time_t ToTime(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

std::string ToIso(std::time_t time) {
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  const size_t size = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text, size};
}

}  // namespace

std::string TakeTlsError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "no reason was given";
  const char* reason = ERR_reason_error_string(code);
  if (reason != nullptr) return reason;
  char text[256];
  ERR_error_string_n(code, text, sizeof(text));
  return text;
}

std::string Sha256(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  return {reinterpret_cast<char*>(digest), size};
}

Result<TlsCertificate> TlsCertificate::Make(std::string_view pem) {
  SLUICE_ASSIGN_OR_RETURN(auto chain, ReadCertificates(pem));
  TlsCertificate out;
  out.chain_ = std::move(chain);
  if (X509_get0_pubkey(out.leaf()) != nullptr) return out;
  return Invalid("the certificate's public key cannot be used: " + TakeTlsError());
}

Status TlsCertificate::SetKey(std::string_view pem) {
  const BioPtr bio = OpenPem(pem);
  if (bio == nullptr) return Invalid("expected PEM text of at most 4 MiB");
  EvpPkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, RefusePassword, nullptr));
  if (key == nullptr) {
    return Invalid("expected a private key in PEM without a pass phrase: " + TakeTlsError());
  }
  if (X509_check_private_key(leaf(), key.get()) != 1) {
    return Invalid("the private key does not belong to the certificate: " + TakeTlsError());
  }
  key_ = std::move(key);
  return {};
}

Status TlsCertificate::SetOcspResponse(std::string_view base64) {
  std::string der = DecodeBase64(base64);
  struct Deleter {
    void operator()(OCSP_RESPONSE* response) const { OCSP_RESPONSE_free(response); }
    void operator()(OCSP_BASICRESP* response) const { OCSP_BASICRESP_free(response); }
  };
  ERR_clear_error();
  const auto* data = reinterpret_cast<const unsigned char*>(der.data());
  const std::unique_ptr<OCSP_RESPONSE, Deleter> response(
      d2i_OCSP_RESPONSE(nullptr, &data, static_cast<long>(der.size())));
  if (response == nullptr ||
      OCSP_response_status(response.get()) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
    return Invalid("expected a successful OCSP response in DER: " + TakeTlsError());
  }
  const std::unique_ptr<OCSP_BASICRESP, Deleter> basic(OCSP_response_get1_basic(response.get()));
  for (int i = 0; basic != nullptr && i < OCSP_resp_count(basic.get()); ++i) {
    OCSP_SINGLERESP* single = OCSP_resp_get0(basic.get(), i);
    ASN1_INTEGER* serial = nullptr;
    // The id inside is not modified by the query.
    auto* id = const_cast<OCSP_CERTID*>(OCSP_SINGLERESP_get0_id(single));
    OCSP_id_get0_info(nullptr, nullptr, nullptr, &serial, id);
    if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf())) != 0) continue;
    ASN1_GENERALIZEDTIME* next_update = nullptr;
    OCSP_single_get0_status(single, nullptr, nullptr, nullptr, &next_update);
    ocsp_expires_ =
        next_update == nullptr ? std::numeric_limits<std::time_t>::max() : ToTime(next_update);
    ocsp_response_ = std::move(der);
    return {};
  }
  ERR_clear_error();
  return Invalid("the OCSP response says nothing about this certificate");
}

std::string TlsCertificate::ValidityProblem(std::time_t now) const {
  const std::time_t from = ToTime(X509_get0_notBefore(leaf()));
  const std::time_t until = ToTime(X509_get0_notAfter(leaf()));
  if (now > until) return "expired on " + ToIso(until);
  if (now < from) return "is not valid before " + ToIso(from);
  return {};
}

std::string TlsCertificate::key_type() const {
  const char* name = EVP_PKEY_get0_type_name(X509_get0_pubkey(leaf()));
  return name == nullptr ? "unknown" : name;
}

Result<std::shared_ptr<const TlsTrust>> TlsTrust::FromPem(std::string_view pem) {
  SLUICE_ASSIGN_OR_RETURN(auto authorities, ReadCertificates(pem));
  auto trust = std::shared_ptr<TlsTrust>(new TlsTrust());
  trust->store_.reset(X509_STORE_new());
  for (const X509Ptr& authority : authorities) {
    if (X509_STORE_add_cert(trust->store_.get(), authority.get()) != 1) {
      return Invalid("a certificate authority cannot be used: " + TakeTlsError());
    }
  }
  trust->authorities_ = std::move(authorities);
  return std::shared_ptr<const TlsTrust>(std::move(trust));
}

Result<std::shared_ptr<const TlsTrust>> TlsTrust::System() {
  ERR_clear_error();
  auto trust = std::shared_ptr<TlsTrust>(new TlsTrust());
  trust->store_.reset(X509_STORE_new());
  if (X509_STORE_set_default_paths(trust->store_.get()) != 1) {
    return Invalid("the system's certificate authorities cannot be read: " + TakeTlsError());
  }
  ERR_clear_error();
  return std::shared_ptr<const TlsTrust>(std::move(trust));
}

}  // namespace sluice
