#include "gateway/proxy/client_connection.h"

#include <utility>

#include "gateway/proxy/http1_server.h"

namespace sluice {

ClientConnection::ClientConnection(ProxyContext& context, const SocketAddress& peer,
                                   const SocketAddress& server_address)
    : context_(context),
      stream_(context.loop, *this),
      deadline_(context.loop.deadlines(), *this),
      protocol_(std::make_unique<Http1Server>(*this)),
      peer_ip_(peer.ip()),
      peer_port_(peer.port()),
      peer_text_(peer_ip_.is_none() ? "unix:" : peer_ip_.ToString()),
      server_address_(&server_address),
      id_(++context.connections_accepted) {
  ++context.connections_open;
  context.clients.PushBack(*this);
}

ClientConnection::~ClientConnection() = default;

void ClientConnection::Accept(ProxyContext& context, int fd, const SocketAddress& peer,
                              const conf::ListenConfig& listen) {
  const SocketAddress& listener = context.Intern(listen.address);
  auto* connection = new ClientConnection(context, peer, listener);  // Reap deletes it
  if (!connection->stream_.Accept(fd).has_value()) return;
  if (listener.ip().is_unspecified()) {
    connection->server_address_ =
        &context.InternLocal(connection->stream_.local_address(), listener);
  }
  connection->protocol_->Start();
}

void ClientConnection::OnStreamError(int) { Close(ErrorCode::kClientClosed); }

void ClientConnection::BeginDrain() {
  if (!closing_) protocol_->BeginDrain();
}

void ClientConnection::Close(ErrorCode reason) {
  if (std::exchange(closing_, true)) return;
  protocol_->OnLost(reason);
  deadline_.Cancel();
  MarkBusy();
  stream_.Close();
}

void ClientConnection::OnClosed() { context_.Reap(*this); }

}  // namespace sluice
