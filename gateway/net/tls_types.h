// OpenSSL's objects as owned pointers, without its headers: those stay in the .cc files of this
// folder. Any process.
#pragma once

#include <memory>

struct evp_pkey_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;
struct x509_st;
struct x509_store_st;

namespace sluice {

struct TlsDeleter {
  void operator()(evp_pkey_st* key) const;
  void operator()(ssl_ctx_st* context) const;
  void operator()(ssl_session_st* session) const;
  void operator()(ssl_st* connection) const;
  void operator()(x509_st* certificate) const;
  void operator()(x509_store_st* store) const;
};

using EvpPkeyPtr = std::unique_ptr<evp_pkey_st, TlsDeleter>;
using SslCtxPtr = std::unique_ptr<ssl_ctx_st, TlsDeleter>;
using SslSessionPtr = std::unique_ptr<ssl_session_st, TlsDeleter>;
using SslPtr = std::unique_ptr<ssl_st, TlsDeleter>;
using X509Ptr = std::unique_ptr<x509_st, TlsDeleter>;
using X509StorePtr = std::unique_ptr<x509_store_st, TlsDeleter>;

}  // namespace sluice
