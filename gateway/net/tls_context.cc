#include "gateway/net/tls_context.h"

#include <algorithm>
#include <set>
#include <utility>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "gateway/base/text.h"
#include "gateway/net/tls_handshake.h"

namespace sluice {
namespace {

// X25519 first: it is the fastest.
constexpr std::string_view kGroups = "X25519:P-256:P-384";

Error Invalid(std::string detail) {
  return GatewayError(ErrorCode::kInvalidConfig, std::move(detail));
}

Status SetCiphers(SSL_CTX* context, const std::string& ciphers) {
  std::string tls13;
  std::string tls12;
  for (const std::string_view name : Split(ciphers, ':')) {
    std::string& list = name.starts_with("TLS_") ? tls13 : tls12;
    if (!list.empty()) list += ':';
    list += name;
  }
  // A list for one of the two leaves the other as it is by default.
  if (!tls13.empty() && SSL_CTX_set_ciphersuites(context, tls13.c_str()) != 1) {
    return Invalid("expected TLS 1.3 ciphers, got \"" + tls13 + "\": " + TakeTlsError());
  }
  if (!tls12.empty() && SSL_CTX_set_cipher_list(context, tls12.c_str()) != 1) {
    return Invalid("expected TLS 1.2 ciphers, got \"" + tls12 + "\": " + TakeTlsError());
  }
  return {};
}

// What both sides have in common.
Result<SslCtxPtr> NewContext(const SSL_METHOD* method, const std::string& ciphers) {
  ERR_clear_error();
  SslCtxPtr context(SSL_CTX_new(method));
  if (context == nullptr) return Invalid("no TLS context: " + TakeTlsError());
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION);
  std::string groups(kGroups);
  if (SSL_CTX_set1_groups_list(context.get(), groups.data()) != 1) {
    return Invalid("no key exchange groups: " + TakeTlsError());
  }
  SLUICE_TRY(SetCiphers(context.get(), ciphers));
  return context;
}

Status UseCertificate(SSL_CTX* context, const TlsCertificate& certificate) {
  if (SSL_CTX_use_certificate(context, certificate.leaf()) != 1 ||
      SSL_CTX_use_PrivateKey(context, certificate.key()) != 1) {
    return Invalid("the certificate cannot be used: " + TakeTlsError());
  }
  SSL_CTX_clear_chain_certs(context);
  for (size_t i = 1; i < certificate.chain().size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, certificate.chain()[i].get()) != 1) {
      return Invalid("the certificate's chain cannot be used: " + TakeTlsError());
    }
  }
  return {};
}

std::string VerificationName(const TlsClientVerification& client) {
  std::string text = std::to_string(client.depth) + (client.optional ? " optional" : " required");
  for (const X509Ptr& authority : client.trust->authorities()) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    X509_digest(authority.get(), EVP_sha256(), digest, &size);
    text.append(reinterpret_cast<char*>(digest), size);
  }
  return Sha256(text);
}

// The result of the check stays with the connection.
int GoOnUnverified(int, X509_STORE_CTX*) { return 1; }

Status SetVerification(SSL_CTX* context, const TlsClientVerification& client) {
  SSL_CTX_set1_cert_store(context, client.trust->store());
  SSL_CTX_set_verify_depth(context, client.depth);
  if (client.optional) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, GoOnUnverified);
  } else {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  for (const X509Ptr& authority : client.trust->authorities()) {
    if (SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return Invalid("a client's authority cannot be named: " + TakeTlsError());
    }
  }
  return {};
}

// "a.example.com" -> "*.example.com"; empty when there is no label to replace.
std::string Wildcard(std::string_view name) {
  const size_t dot = name.find('.');
  return dot == std::string_view::npos || dot == 0 ? "" : "*" + std::string(name.substr(dot));
}

}  // namespace

Status CheckTlsCiphers(const std::string& ciphers) {
  const auto context = NewContext(TLS_method(), ciphers);
  return context.has_value() ? Status() : Status(context.error());
}

bool TlsIdentity::Covers(std::string_view host) const {
  const std::string wildcard = Wildcard(host);
  return std::any_of(config_.names.begin(), config_.names.end(), [&](const std::string& name) {
    return name == host || name == "*" || (!wildcard.empty() && name == wildcard);
  });
}

namespace {

// Its certificates are complete and of different kinds.
Status Check(const TlsIdentityConfig& identity) {
  if (identity.certificates.empty()) return Invalid("expected at least one certificate");
  if (!identity.tls12 && !identity.tls13) return Invalid("expected at least one protocol");
  std::set<std::string> kinds;
  for (const TlsCertificate& certificate : identity.certificates) {
    if (certificate.key() == nullptr) return Invalid("a certificate has no private key");
    // Another one of the same kind would silently replace it.
    if (!kinds.insert(certificate.key_type()).second) {
      return Invalid("two certificates have keys of the same kind, " + certificate.key_type() +
                     "; expected at most one of each");
    }
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const TlsIdentity>> TlsIdentity::Make(TlsIdentityConfig config) {
  SLUICE_TRY(Check(config));
  auto identity = std::shared_ptr<TlsIdentity>(new TlsIdentity());
  SLUICE_ASSIGN_OR_RETURN(identity->context_, NewContext(TLS_server_method(), config.ciphers));
  SSL_CTX* context = identity->context_.get();
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  // Sessions live in tickets only, which any worker can open.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_timeout(context, config.ticket_lifetime / seconds(1));
  if (!config.tls12) SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  if (!config.tls13) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  for (const TlsCertificate& certificate : config.certificates) {
    SLUICE_TRY(UseCertificate(context, certificate));
  }
  if (config.client) {
    identity->verification_ = VerificationName(*config.client);
    SLUICE_TRY(SetVerification(context, *config.client));
  }
  const std::string scope = Sha256(config.id + identity->verification_);
  if (SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>(scope.data()),
                                     static_cast<unsigned>(scope.size())) != 1) {
    return Invalid("no session context: " + TakeTlsError());
  }
  TlsHandshake::SetServerCallbacks(context);
  identity->config_ = std::move(config);
  return std::shared_ptr<const TlsIdentity>(std::move(identity));
}

Result<std::shared_ptr<const TlsServerContext>> TlsServerContext::Make(
    TlsServerConfig config, std::shared_ptr<const TicketKeys> ticket_keys) {
  SLUICE_CHECK(ticket_keys != nullptr);
  if (config.identities.empty()) return Invalid("expected at least one certificate");
  auto out = std::shared_ptr<TlsServerContext>(new TlsServerContext());
  out->ticket_keys_ = std::move(ticket_keys);
  out->reject_unknown_ = config.reject_unknown;
  out->identities_ = std::move(config.identities);
  for (const auto& identity : out->identities_) {
    for (const std::string& name : identity->config_.names) {
      if (out->by_name_.emplace(name, identity.get()).second) continue;
      return Invalid("certificate \"" + identity->id() + "\": the name " + name +
                     " is there twice");
    }
    if (identity->verifies_client()) out->verifies_clients_ = true;
    if (identity->id() == config.default_id) out->fallback_ = identity.get();
  }
  if (!config.default_id.empty() && out->fallback_ == nullptr) {
    return Invalid("the default certificate \"" + config.default_id + "\" does not exist");
  }
  if (out->fallback_ == nullptr) {
    const auto any = out->by_name_.find("*");
    out->fallback_ = any == out->by_name_.end() ? out->identities_.front().get() : any->second;
  }
  return std::shared_ptr<const TlsServerContext>(std::move(out));
}

const TlsIdentity* TlsServerContext::Find(std::string_view name) const {
  if (name.empty()) return nullptr;
  auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) found = by_name_.find(Wildcard(name));
  if (found == by_name_.end()) found = by_name_.find("*");
  return found == by_name_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<const TlsClientContext>> TlsClientContext::Make(TlsClientConfig config) {
  auto out = std::shared_ptr<TlsClientContext>(new TlsClientContext());
  SLUICE_ASSIGN_OR_RETURN(out->context_, NewContext(TLS_client_method(), config.ciphers));
  SSL_CTX* context = out->context_.get();
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  if (config.certificate) SLUICE_TRY(UseCertificate(context, *config.certificate));
  out->verify_ = config.trust != nullptr;
  if (out->verify_) {
    SSL_CTX_set1_cert_store(context, config.trust->store());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  static constexpr std::string_view kHttp1 = "\x08http/1.1";
  static constexpr std::string_view kHttp2 = "\x02h2";
  const std::string_view offered = config.http2 ? kHttp2 : kHttp1;
  if (SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(offered.data()),
                              static_cast<unsigned>(offered.size())) != 0) {
    return Invalid("no ALPN: " + TakeTlsError());
  }
  TlsHandshake::SetClientCallbacks(context);
  return std::shared_ptr<const TlsClientContext>(std::move(out));
}

SSL_SESSION* TlsResumption::Find(const TlsClientContext& context, std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name && entry.context.lock().get() == &context) return entry.session.get();
  }
  return nullptr;
}

void TlsResumption::Store(const std::shared_ptr<const TlsClientContext>& context,
                          std::string_view name, SslSessionPtr session) {
  for (Entry& entry : entries_) {
    if (entry.name != name) continue;
    entry.context = context;
    entry.session = std::move(session);
    return;
  }
  Entry entry{context, std::string(name), std::move(session)};
  if (entries_.size() < kMaximum) {
    entries_.push_back(std::move(entry));
  } else {
    entries_[next_++ % kMaximum] = std::move(entry);
  }
}

}  // namespace sluice
