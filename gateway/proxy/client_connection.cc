#include "gateway/proxy/client_connection.h"

#include <utility>

#include "gateway/base/log.h"
#include "gateway/net/proxy_protocol.h"
#include "gateway/proxy/client_address.h"
#include "gateway/proxy/error_reply.h"
#include "gateway/proxy/forward_headers.h"
#include "gateway/proxy/http1_server.h"
#include "gateway/proxy/http2_server.h"

namespace sluice {

ClientConnection::ClientConnection(ProxyContext& context, const SocketAddress& peer,
                                   const SocketAddress& server_address)
    : context_(context),
      stream_(context.loop, *this),
      deadline_(context.loop.deadlines(), *this),
      server_address_(&server_address),
      id_(++context.connections_accepted) {
  SetPeer(peer);
  ++context.connections_open;
  context.counters.connections.Add();
  context.counters.present.connections.Set(context.connections_open);
  context.clients.PushBack(*this);
}

ClientConnection::~ClientConnection() = default;

void ClientConnection::SetPeer(const SocketAddress& peer) {
  peer_ip_ = peer.ip();
  peer_port_ = peer.port();
  peer_text_ = peer_ip_.is_none() ? "unix:" : peer_ip_.ToString();
}

void ClientConnection::Accept(ProxyContext& context, int fd, const SocketAddress& peer,
                              const conf::ListenConfig& listen) {
  const SocketAddress& listener = context.Intern(listen.address);
  auto* connection = new ClientConnection(context, peer, listener);  // Reap deletes it
  if (!connection->stream_.Accept(fd).has_value()) return;
  if (listener.ip().is_unspecified()) {
    connection->server_address_ =
        &context.InternLocal(connection->stream_.local_address(), listener);
  }
  connection->Begin(listen);
}

// --- before the protocol ------------------------------------------------------------------------

bool ClientConnection::peer_is_trusted() const {
  return IsTrusted(peer_ip_, context_.gateway().trusted_proxies);
}

void ClientConnection::Begin(const conf::ListenConfig& listen) {
  http2_ = listen.http2;
  tls_wanted_ = listen.tls;
  if (listen.proxy_protocol == conf::ProxyHeaders::kNo) return BeginHandshake({});
  header_required_ = listen.proxy_protocol == conf::ProxyHeaders::kRequired;
  stage_ = Stage::kProxyHeader;
  if (header_required_ && !peer_is_trusted()) {
    return Refuse("a PROXY header is required, and the peer is not in trusted_proxies");
  }
  SetDeadline(context_.gateway().timeouts.header);
}

// What has come in pieces is put together until it tells what it is.
void ClientConnection::ReadEarly(std::string_view bytes) {
  Buffer early;
  if (!early_.empty()) {
    early_.Append(bytes);
    early = std::exchange(early_, Buffer());
    bytes = early.view();
  }
  const bool done = stage_ == Stage::kProxyHeader ? ReadProxyHeader(bytes) : ReadPreface(bytes);
  if (!done) return early_.Append(bytes);
  if (!early.empty()) context_.loop.FlushDirty();  // what was lent lies there
}

bool ClientConnection::ReadProxyHeader(std::string_view bytes) {
  const auto header = ParseProxyHeader(bytes);
  if (!header.has_value()) {
    Refuse(header.error().detail);
    return true;
  }
  if (header->state == ProxyHeader::State::kNeedMore) return false;
  OnProxyHeader(*header, bytes);
  return true;
}

void ClientConnection::OnProxyHeader(const ProxyHeader& header, std::string_view bytes) {
  if (header.state == ProxyHeader::State::kAbsent) {
    return header_required_ ? Refuse(
                                  "a PROXY header is required, and the connection begins with "
                                  "something else")
                            : BeginHandshake(bytes);
  }
  if (!peer_is_trusted()) return Refuse("a PROXY header of a peer that is not in trusted_proxies");
  if (header.has_addresses) SetPeer(header.source);
  BeginHandshake(bytes.substr(header.size));
}

template <typename Protocol>
void ClientConnection::StartProtocol(std::string_view received) {
  stage_ = Stage::kProtocol;
  protocol_ = std::make_unique<Protocol>(*this);
  protocol_->Start();
  if (!received.empty()) protocol_->OnRead(received);
}

void ClientConnection::BeginHandshake(std::string_view received) {
  if (!tls_wanted_) return BeginProtocol(received);
  const auto& server = context_.active->tls->server();
  if (server == nullptr) return Refuse("the last certificate was removed from the configuration");
  auto session = TlsSession::Accept(server, http2_);
  if (!session.has_value()) return Refuse(session.error().detail);
  stage_ = Stage::kHandshake;
  stream_.StartTls(std::move(*session), received);
  SetDeadline(context_.gateway().timeouts.header);
}

void ClientConnection::OnSecured(Status status) {
  if (closing_) return;
  ProcessCounters& counters = context_.counters;
  if (status.has_value()) {
    (stream_.tls()->is_resumed() ? counters.handshakes_resumed : counters.handshakes_full).Add();
    // HTTP/2 inside TLS is agreed on by ALPN only (RFC 9113 3.3).
    const bool http2 = stream_.tls()->alpn() == "h2";
    return http2 ? StartProtocol<Http2Server>({}) : StartProtocol<Http1Server>({});
  }
  counters.handshakes_failed.Add();
  Log(LogLevel::kDebug, "TLS handshake failed",
      {{"peer", peer_text_},
       {"listener", server_address_->ToString()},
       {"reason", status.error().detail}});
  stage_ = Stage::kClosing;
  SetDeadline(context_.gateway().timeouts.send);
  if (status.error().code == ErrorCode::kPlainHttp) OnPlainHttp();
  stream_.CloseAfterFlush();
}

// Somebody has typed the port with http:// in front.
void ClientConnection::OnPlainHttp() {
  const std::string_view body = context_.loop.scratch().Copy(ErrorBody(ErrorCode::kPlainHttp));
  ResponseHead head;
  head.status = StatusOf(ErrorCode::kPlainHttp);
  head.body = {BodyFraming::Kind::kLength, body.size()};
  head.fields.Add("Server", "sluice");
  head.fields.Add("Content-Type", "application/json");
  const ClientHeadOptions options{.date = context_.HttpDate(), .framing = head.body, .close = true};
  stream_.Send(WriteClientHead(head, options, context_.loop.scratch()));
  stream_.Send(body);
}

void ClientConnection::BeginProtocol(std::string_view received) {
  if (!http2_) return StartProtocol<Http1Server>(received);
  stage_ = Stage::kPreface;
  header_required_ = false;
  SetDeadline(context_.gateway().timeouts.header);
  if (!received.empty()) ReadEarly(received);
}

bool ClientConnection::ReadPreface(std::string_view bytes) {
  const std::string_view preface = Http2Codec::kPreface;
  if (bytes.substr(0, preface.size()) == preface) {
    StartProtocol<Http2Server>(bytes);
  } else if (preface.substr(0, bytes.size()) != bytes) {
    StartProtocol<Http1Server>(bytes);
  } else {
    return false;
  }
  return true;
}

void ClientConnection::Refuse(std::string_view why) {
  context_.counters.connections_refused.Add();
  Log(LogLevel::kWarn, "connection refused",
      {{"peer", peer_text_}, {"listener", server_address_->ToString()}, {"reason", why}});
  Close(ErrorCode::kMalformedRequest);
}

// --- events -------------------------------------------------------------------------------------

void ClientConnection::OnRead(std::string_view bytes) {
  if (closing_) return;
  switch (stage_) {
    case Stage::kProxyHeader:
    case Stage::kPreface:
      return ReadEarly(bytes);
    case Stage::kProtocol:
      return protocol_->OnRead(bytes);
    case Stage::kHandshake:
    case Stage::kClosing:
      return;
  }
}

void ClientConnection::OnEof() {
  if (protocol_ != nullptr) return protocol_->OnEof();
  if (stage_ == Stage::kPreface) return Close(ErrorCode::kNone);
  if (stage_ != Stage::kProxyHeader) return Close(ErrorCode::kClientClosed);
  // Without a byte it is most likely a load balancer that looks whether the port is open.
  early_.empty() ? Close(ErrorCode::kNone) : Refuse("the connection ended inside a PROXY header");
}

void ClientConnection::OnStreamError(int) { Close(ErrorCode::kClientClosed); }

void ClientConnection::OnBlocked() {
  if (protocol_ != nullptr) protocol_->OnBlocked();
}

void ClientConnection::OnWritable() {
  if (protocol_ != nullptr) protocol_->OnWritable();
}

void ClientConnection::OnDeadline() {
  if (protocol_ != nullptr) return protocol_->OnDeadline();
  const bool in_header = stage_ == Stage::kProxyHeader;
  if (!in_header || (!header_required_ && early_.empty())) return Close(ErrorCode::kHeaderTimeout);
  Refuse("no PROXY header came in time");
}

void ClientConnection::BeginDrain() {
  if (closing_) return;
  protocol_ != nullptr ? protocol_->BeginDrain() : SetDeadline(kDrainGrace);
}

void ClientConnection::End(ErrorCode reason) {
  if (protocol_ == nullptr || !protocol_->EndTunnels(reason)) Close(reason);
}

void ClientConnection::Close(ErrorCode reason) {
  if (std::exchange(closing_, true)) return;
  if (protocol_ != nullptr) protocol_->OnLost(reason);
  deadline_.Cancel();
  MarkBusy();
  stream_.SendTlsEnd();
  stream_.Close();
}

void ClientConnection::OnClosed() { context_.Reap(*this); }

}  // namespace sluice
