#include "gateway/net/tls_handshake.h"

#include <algorithm>
#include <ctime>
#include <string>
#include <string_view>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "gateway/base/text.h"

namespace sluice {
namespace {

// Records without data (key updates, session tickets, alerts) that may come in a row.
constexpr uint16_t kMaximumIdleRecords = 64;

// RFC 6066 3: a list with one host name. Empty when there is none; what is malformed OpenSSL itself
// refuses later.
std::string ReadServerName(SSL* ssl) {
  const unsigned char* data = nullptr;
  size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1) return {};
  constexpr size_t kHead = 5;  // size of the list, type, size of the name
  if (size <= kHead || data[2] != TLSEXT_NAMETYPE_host_name) return {};
  const size_t length = static_cast<size_t>(data[3]) << 8 | data[4];
  if (length > size - kHead || length > TLSEXT_MAXLEN_host_name) return {};
  std::string name = ToLower({reinterpret_cast<const char*>(data) + kHead, length});
  if (name.ends_with('.')) name.pop_back();
  return name;
}

bool Offers(std::string_view list, std::string_view protocol) {
  while (!list.empty()) {
    const size_t size = static_cast<unsigned char>(list.front());
    if (list.substr(1, size) == protocol) return true;
    list.remove_prefix(std::min(list.size(), size + 1));
  }
  return false;
}

// Fetched once: a look-up by name at each ticket costs more than the sealing.
const EVP_CIPHER* TicketCipher() {
  static const EVP_CIPHER* const kCipher = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  return kCipher;
}

bool SetMacKey(EVP_MAC_CTX* mac, TicketKey& key) {
  static char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac_key.data(), key.mac_key.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, sizeof(digest) - 1),
      OSSL_PARAM_construct_end(),
  };
  return EVP_MAC_CTX_set_params(mac, params) == 1;
}

}  // namespace

TlsSession& TlsHandshake::Session(const SSL* ssl) {
  return *static_cast<TlsSession*>(SSL_get_app_data(ssl));
}

void TlsHandshake::SetServerCallbacks(SSL_CTX* context) {
  SSL_CTX_set_client_hello_cb(context, OnClientHello, nullptr);
  SSL_CTX_set_tlsext_servername_callback(context, OnServerName);
  SSL_CTX_set_alpn_select_cb(context, OnAlpn, nullptr);
  SSL_CTX_set_tlsext_status_cb(context, OnStatusRequest);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, OnTicket);
  SSL_CTX_set_msg_callback(context, OnRecord);
}

void TlsHandshake::SetClientCallbacks(SSL_CTX* context) {
  SSL_CTX_sess_set_new_cb(context, OnNewSession);
  SSL_CTX_set_msg_callback(context, OnRecord);
}

SslPtr TlsHandshake::NewConnection(SSL_CTX* context, TlsSession& session) {
  SslPtr ssl(SSL_new(context));
  if (ssl != nullptr) SSL_set_app_data(ssl.get(), &session);
  return ssl;
}

SslPtr TlsHandshake::NewServer(const TlsServerContext& context, TlsSession& session) {
  SslPtr ssl = NewConnection(context.fallback().context_.get(), session);
  if (ssl != nullptr) SSL_set_accept_state(ssl.get());
  return ssl;
}

SslPtr TlsHandshake::NewClient(const TlsClientContext& context, TlsSession& session) {
  SslPtr ssl = NewConnection(context.context_.get(), session);
  if (ssl != nullptr) SSL_set_connect_state(ssl.get());
  return ssl;
}

// Before anything is chosen or resumed, so that a ticket of one identity is never taken by another
// one that asks for more.
int TlsHandshake::OnClientHello(SSL* ssl, int* alert, void*) {
  TlsSession& session = Session(ssl);
  const TlsServerContext& context = *session.server_context_;
  session.server_name_ = ReadServerName(ssl);
  const TlsIdentity* identity = context.Find(session.server_name_);
  session.named_identity_ = identity != nullptr;
  if (identity == nullptr && context.reject_unknown_) {
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_CLIENT_HELLO_ERROR;
  }
  session.identity_ = identity == nullptr ? &context.fallback() : identity;
  if (UseIdentity(ssl, *session.identity_)) return SSL_CLIENT_HELLO_SUCCESS;
  *alert = SSL_AD_INTERNAL_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

// What a connection does not take over when its context changes.
bool TlsHandshake::UseIdentity(SSL* ssl, const TlsIdentity& identity) {
  SSL_CTX* context = identity.context_.get();
  if (SSL_get_SSL_CTX(ssl) == context) return true;
  if (SSL_set_SSL_CTX(ssl, context) == nullptr) return false;
  SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), SSL_CTX_get_verify_callback(context));
  SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(context));
  return SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(context)) == 1 &&
         SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(context)) == 1;
}

int TlsHandshake::OnServerName(SSL* ssl, int*, void*) {
  return Session(ssl).named_identity_ ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// RFC 7301 3.2: without a common protocol the handshake ends, which also keeps requests of other
// protocols away from us.
// NOLINTNEXTLINE(readability-function-size): the parameters are OpenSSL's
int TlsHandshake::OnAlpn(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                         const unsigned char* offered, unsigned offered_size, void*) {
  const std::string_view list(reinterpret_cast<const char*>(offered), offered_size);
  constexpr std::string_view kHttp2 = "h2";
  constexpr std::string_view kHttp1 = "http/1.1";
  std::string_view chosen;
  if (Session(ssl).http2_ && Offers(list, kHttp2)) {
    chosen = kHttp2;
  } else if (Offers(list, kHttp1)) {
    chosen = kHttp1;
  } else {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = reinterpret_cast<const unsigned char*>(chosen.data());
  *out_size = static_cast<unsigned char>(chosen.size());
  return SSL_TLSEXT_ERR_OK;
}

int TlsHandshake::OnStatusRequest(SSL* ssl, void*) {
  const X509* leaf = SSL_get_certificate(ssl);
  const TlsIdentity* identity = Session(ssl).identity_;
  if (identity == nullptr) return SSL_TLSEXT_ERR_NOACK;
  for (const TlsCertificate& certificate : identity->config_.certificates) {
    const std::string& response = certificate.ocsp_response();
    if (certificate.leaf() != leaf || response.empty()) continue;
    if (certificate.ocsp_expires() < std::time(nullptr)) return SSL_TLSEXT_ERR_NOACK;
    void* copy = OPENSSL_memdup(response.data(), response.size());  // the connection frees it
    if (copy == nullptr) return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(response.size()));
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

// Negative: an error; 0: no ticket, or one that nobody can open; 1: go on; 2: go on and renew it.
// NOLINTNEXTLINE(readability-function-size): the parameters are OpenSSL's
int TlsHandshake::OnTicket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                           EVP_MAC_CTX* mac, int sealing) {
  const TicketKeys& keys = *Session(ssl).server_context_->ticket_keys_;
  const TicketKey current = keys.Current();
  if (sealing == 1) {
    TicketKey key = current;
    std::copy(key.name.begin(), key.name.end(), name);
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(TicketCipher())) != 1) return -1;
    const int begun =
        EVP_EncryptInit_ex2(cipher, TicketCipher(), key.cipher_key.data(), iv, nullptr);
    return begun == 1 && SetMacKey(mac, key) ? 1 : -1;
  }
  auto key = keys.Find(std::span<const unsigned char, 16>(name, 16));
  if (!key) return 0;
  const int begun =
      EVP_DecryptInit_ex2(cipher, TicketCipher(), key->cipher_key.data(), iv, nullptr);
  if (begun != 1 || !SetMacKey(mac, *key)) return -1;
  // A TLS 1.3 client gets a fresh ticket at any rate: it must not use one twice (RFC 8446 C.4).
  return key->name == current.name && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
}

int TlsHandshake::OnNewSession(SSL* ssl, SSL_SESSION* resumable) {
  TlsSession& session = Session(ssl);
  if (session.resumption_ == nullptr) return 0;
  session.resumption_->Store(session.client_context_, session.server_name_,
                             SslSessionPtr(resumable));
  return 1;  // we keep the reference
}

// Renegotiations and key updates cost us more than the peer; data in between shows good faith.
// NOLINTNEXTLINE(readability-function-size): the parameters are OpenSSL's
void TlsHandshake::OnRecord(int written, int, int type, const void* data, size_t size, SSL* ssl,
                            void*) {
  if (written != 0 || size == 0) return;
  if (type != SSL3_RT_HEADER && type != SSL3_RT_INNER_CONTENT_TYPE) return;
  TlsSession& session = Session(ssl);
  const unsigned char content = *static_cast<const unsigned char*>(data);
  if (content == SSL3_RT_APPLICATION_DATA || session.state_ != TlsSession::State::kSecured) return;
  if (++session.idle_records_ > kMaximumIdleRecords) session.flooded_ = true;
}

}  // namespace sluice
