// The callbacks that OpenSSL makes during a handshake, for the connections of one context. Internal
// to gateway/net: set by tls_context.cc, acting on the TlsSession that is the connection's app
// data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "gateway/net/tls_context.h"
#include "gateway/net/tls_session.h"

struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;

namespace sluice {

class TlsHandshake {
 public:
  static void SetServerCallbacks(ssl_ctx_st* context);
  static void SetClientCallbacks(ssl_ctx_st* context);
  static SslPtr NewConnection(ssl_ctx_st* context, TlsSession& session);
  static SslPtr NewServer(const TlsServerContext& context, TlsSession& session);
  static SslPtr NewClient(const TlsClientContext& context, TlsSession& session);
  static bool VerifiesPeer(const TlsClientContext& context) { return context.verify_; }

 private:
  static TlsSession& Session(const ssl_st* ssl);
  static int OnClientHello(ssl_st* ssl, int* alert, void*);
  static int OnServerName(ssl_st* ssl, int* alert, void*);
  static int OnAlpn(ssl_st* ssl, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned offered_size, void*);
  static int OnStatusRequest(ssl_st* ssl, void*);
  static int OnTicket(ssl_st* ssl, unsigned char* name, unsigned char* iv,
                      evp_cipher_ctx_st* cipher, evp_mac_ctx_st* mac, int sealing);
  static int OnNewSession(ssl_st* ssl, ssl_session_st* resumable);
  static void OnRecord(int written, int version, int type, const void* data, size_t size,
                       ssl_st* ssl, void*);

  static bool UseIdentity(ssl_st* ssl, const TlsIdentity& identity);
};

}  // namespace sluice
