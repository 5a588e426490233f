// A request as predicates, variables and explain see it: the head plus what was derived from it and
// from the connection. A bundle of views, valid while the exchange lives.
#pragma once

#include <string_view>

#include "gateway/base/address.h"
#include "gateway/http/message.h"

namespace sluice {

struct RequestView {
  const RequestHead* head = nullptr;
  std::string_view scheme;     // "http" or "https": how the client reached us
  std::string_view host;       // NormalizeHost of the authority
  std::string_view path;       // NormalizePath of the path: matched and forwarded
  std::string_view form_body;  // application/x-www-form-urlencoded body, only if the router asked
  IpAddress client_ip;         // after trusted_proxies
  uint16_t client_port = 0;
  IpAddress peer_ip;                      // of the socket
  bool peer_is_trusted = false;           // one of trusted_proxies: its X-Forwarded-* count
  std::string_view client_text;           // client_ip as text ("unix:" for a UNIX socket)
  std::string_view peer_text;             // peer_ip as text
  const SocketAddress* server = nullptr;  // the local address; null in tests and explain

  // Whose ids APISIX's variables give; empty as long as nobody has said.
  std::string_view route_id;
  std::string_view service_id;
  std::string_view consumer_name;
  std::string_view consumer_group_id;

  int response_status = 0;  // as far as it is known; 0: there is none yet

  // Of the client's TLS connection; empty without one.
  std::string_view tls_protocol;     // "TLSv1.3"
  std::string_view tls_cipher;       // "TLS_AES_128_GCM_SHA256"
  std::string_view tls_server_name;  // SNI, lower case
  bool tls_client_verified = false;

  Method method() const { return head->method; }
  std::string_view query() const { return head->query; }
};

}  // namespace sluice
