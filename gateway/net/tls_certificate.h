// Certificates as configured: a chain with its private key and an OCSP response to staple, and the
// authorities that another side's certificate is checked against. Made off the loop's thread from
// PEM text, then given to a TlsServerContext or TlsClientContext. Any process.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/net/tls_types.h"

namespace sluice {

// The oldest error that OpenSSL has queued, in its words, and clears the queue.
std::string TakeTlsError();

// SHA-256, 32 bytes: to compare settings by without keeping them.
std::string Sha256(std::string_view text);

class TlsCertificate {
 public:
  // `pem`: the certificate itself, then the intermediate ones.
  static Result<TlsCertificate> Make(std::string_view pem);

  // The private key as PEM; refused when it belongs to another certificate.
  Status SetKey(std::string_view pem);
  // A response about this certificate, DER in base64; sent until it expires.
  Status SetOcspResponse(std::string_view base64);

  // "expired on 2026-01-02T03:04:05Z", "is not valid before ..."; empty: valid at `now`.
  std::string ValidityProblem(std::time_t now) const;
  // "RSA", "EC", ...: a server may have one certificate of each.
  std::string key_type() const;

  x509_st* leaf() const { return chain_.front().get(); }
  const std::vector<X509Ptr>& chain() const { return chain_; }  // with the leaf
  evp_pkey_st* key() const { return key_.get(); }
  const std::string& ocsp_response() const { return ocsp_response_; }
  std::time_t ocsp_expires() const { return ocsp_expires_; }

 private:
  TlsCertificate() = default;

  std::vector<X509Ptr> chain_;
  EvpPkeyPtr key_;
  std::string ocsp_response_;
  std::time_t ocsp_expires_ = 0;
};

// Certificate authorities that are believed.
class TlsTrust {
 public:
  static Result<std::shared_ptr<const TlsTrust>> FromPem(std::string_view pem);
  // What the system believes. Takes milliseconds: share the result.
  static Result<std::shared_ptr<const TlsTrust>> System();

  x509_store_st* store() const { return store_.get(); }
  // The authorities themselves; empty for the system's.
  const std::vector<X509Ptr>& authorities() const { return authorities_; }

 private:
  TlsTrust() = default;

  X509StorePtr store_;
  std::vector<X509Ptr> authorities_;
};

}  // namespace sluice
