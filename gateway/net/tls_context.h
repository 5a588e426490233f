// What TLS connections are made from: a server's certificates by name and how it negotiates, and a
// client's trust and certificate. Immutable; made off the loop's thread when a configuration is
// built and shared by the connections that were begun with it, so that a reload touches none.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/net/ticket_keys.h"
#include "gateway/net/tls_certificate.h"
#include "gateway/net/tls_types.h"

namespace sluice {

// Ciphers in OpenSSL's names separated by ':', those of TLS 1.3 (TLS_...) among them.
inline constexpr std::string_view kDefaultTlsCiphers =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

// Without effect beyond the check: says what is wrong with a list of ciphers.
Status CheckTlsCiphers(const std::string& ciphers);

// How clients prove who they are.
struct TlsClientVerification {
  std::shared_ptr<const TlsTrust> trust;
  int depth = 1;  // intermediate authorities, at most
  // A client without a valid certificate gets through the handshake; the request is to be judged.
  bool optional = false;
};

// One set of names with its certificates; what `ssls` of the configuration lists.
struct TlsIdentityConfig {
  std::string id;
  std::vector<std::string> names;            // lower case: exact, "*.name" for one label, or "*"
  std::vector<TlsCertificate> certificates;  // at least one, each with its key
  std::optional<TlsClientVerification> client;
  bool tls12 = true;
  bool tls13 = true;
  std::string ciphers{kDefaultTlsCiphers};
  Duration ticket_lifetime = hours(1);
};

// Made once for each state of its configuration: contexts of later revisions share it.
class TlsIdentity {
 public:
  static Result<std::shared_ptr<const TlsIdentity>> Make(TlsIdentityConfig config);

  const std::string& id() const { return config_.id; }
  const std::vector<TlsCertificate>& certificates() const { return config_.certificates; }
  bool verifies_client() const { return config_.client.has_value(); }
  bool verification_is_optional() const { return config_.client && config_.client->optional; }
  // Whether requests for `host` (lower case, without port) may come over a connection to this one.
  bool Covers(std::string_view host) const;
  // Equal for two that check clients in the same way, also across reloads. 32 bytes.
  const std::string& verification() const { return verification_; }

 private:
  friend class TlsServerContext;
  friend class TlsHandshake;

  TlsIdentity() = default;

  TlsIdentityConfig config_;
  SslCtxPtr context_;
  std::string verification_;
};

struct TlsServerConfig {
  std::vector<std::shared_ptr<const TlsIdentity>> identities;  // at least one; no name twice
  std::string default_id;       // empty: the one named "*", or the first
  bool reject_unknown = false;  // a client that names none of them is sent away
};

class TlsServerContext {
 public:
  static Result<std::shared_ptr<const TlsServerContext>> Make(
      TlsServerConfig config, std::shared_ptr<const TicketKeys> ticket_keys);

  // By the name that a client sent, or a request's host; null: nobody has it.
  const TlsIdentity* Find(std::string_view name) const;
  const TlsIdentity& fallback() const { return *fallback_; }
  bool verifies_clients() const { return verifies_clients_; }  // some identity does

 private:
  friend class TlsHandshake;

  TlsServerContext() = default;

  std::vector<std::shared_ptr<const TlsIdentity>> identities_;
  std::unordered_map<std::string, const TlsIdentity*> by_name_;
  const TlsIdentity* fallback_ = nullptr;
  bool reject_unknown_ = false;
  bool verifies_clients_ = false;
  std::shared_ptr<const TicketKeys> ticket_keys_;
};

struct TlsClientConfig {
  std::shared_ptr<const TlsTrust> trust;      // null: whoever answers is believed
  std::optional<TlsCertificate> certificate;  // ours, with its key
  bool http2 = false;                         // offered by ALPN in place of http/1.1
  std::string ciphers{kDefaultTlsCiphers};
};

class TlsClientContext {
 public:
  static Result<std::shared_ptr<const TlsClientContext>> Make(TlsClientConfig config);

 private:
  friend class TlsHandshake;

  TlsClientContext() = default;

  SslCtxPtr context_;
  bool verify_ = true;
};

// Sessions of one endpoint, by the name that was asked for, to resume later connections with. Must
// outlive the streams whose sessions it was given to. Used from the loop's thread only.
class TlsResumption {
 public:
  // Null: none that was begun with this context and name.
  ssl_session_st* Find(const TlsClientContext& context, std::string_view name) const;
  void Store(const std::shared_ptr<const TlsClientContext>& context, std::string_view name,
             SslSessionPtr session);

 private:
  struct Entry {
    std::weak_ptr<const TlsClientContext> context;
    std::string name;
    SslSessionPtr session;
  };
  static constexpr size_t kMaximum = 8;

  std::vector<Entry> entries_;
  size_t next_ = 0;  // the one to replace when all are taken
};

}  // namespace sluice
