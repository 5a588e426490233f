// One connection from a client: the socket, who is at its other end, and the protocol that is
// spoken on it. Created when a socket is accepted, freed by the context after the stream's last
// callback.
//
//   kProxyHeader (if the listener has proxy_protocol) ─► kHandshake (if it has tls)
//     ─► kPreface (if it has http2, without tls) ─► kProtocol
//   A handshake that fails leads to kClosing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/address.h"
#include "gateway/base/buffer.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/net/deadline.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/client_protocol.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {

struct ProxyHeader;

class ClientConnection final : public StreamObserver,
                               public Deadline::Observer,
                               public ListNode<ActiveTag>,
                               public ListNode<IdleTag> {
 public:
  // While draining, a client gets this long to use a connection it believes to be open.
  static constexpr Duration kDrainGrace = milliseconds(500);

  // Takes `fd`, a connected descriptor, over.
  static void Accept(ProxyContext& context, int fd, const SocketAddress& peer,
                     const conf::ListenConfig& listen);

  // The client: whom a PROXY header has named, or else the peer of the socket.
  const IpAddress& peer_ip() const { return peer_ip_; }
  uint16_t peer_port() const { return peer_port_; }
  std::string_view peer_text() const { return peer_text_; }
  const SocketAddress& server_address() const { return *server_address_; }
  uint16_t listen_port() const { return server_address_->port(); }
  uint64_t id() const { return id_; }
  const TlsSession* tls() const { return stream_.tls(); }  // null: plain text

  // From the protocol.
  ProxyContext& context() { return context_; }
  Stream& stream() { return stream_; }
  void SetDeadline(Duration timeout) { deadline_.Set(context_.loop.now() + timeout); }
  void CancelDeadline() { deadline_.Cancel(); }
  // An idle connection may be closed to make room for another.
  void MarkIdle() {
    context_.idle_clients.PushBack(*this);
    if (context_.accepting_paused) context_.on_room();
  }
  void MarkBusy() { ListNode<IdleTag>::Unlink(); }

  void BeginDrain();             // from the server: no further request after those under way
  void Close(ErrorCode reason);  // at once; `reason` is logged for the exchanges under way
  // The same, but whose tunnels can be ended in order closes by itself when that is sent.
  void End(ErrorCode reason);

  void OnConnected(Status) override {}
  void OnSecured(Status status) override;
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnStreamError(int error_number) override;
  void OnBlocked() override;
  void OnWritable() override;
  void OnClosed() override;
  void OnDeadline() override;

 private:
  friend class ProxyContext;  // Reap

  enum class Stage : uint8_t { kProxyHeader, kHandshake, kPreface, kProtocol, kClosing };

  ClientConnection(ProxyContext& context, const SocketAddress& peer,
                   const SocketAddress& server_address);
  ~ClientConnection();

  void SetPeer(const SocketAddress& peer);
  bool peer_is_trusted() const;
  void Begin(const conf::ListenConfig& listen);
  void ReadEarly(std::string_view bytes);
  bool ReadProxyHeader(std::string_view bytes);  // false: it is not complete
  void OnProxyHeader(const ProxyHeader& header, std::string_view bytes);
  // `received`: what has come already.
  void BeginHandshake(std::string_view received);
  void OnPlainHttp();
  void BeginProtocol(std::string_view received);
  bool ReadPreface(std::string_view bytes);  // tells HTTP/2 with prior knowledge from HTTP/1
  template <typename Protocol>
  void StartProtocol(std::string_view received);
  void Refuse(std::string_view why);

  ProxyContext& context_;
  Stream stream_;
  Deadline deadline_;
  std::unique_ptr<ClientProtocol> protocol_;  // kProtocol only
  Buffer early_;                              // before kProtocol: what is not complete
  Stage stage_ = Stage::kProtocol;
  bool header_required_ = false;
  bool http2_ = false;  // the listener speaks it
  bool tls_wanted_ = false;
  bool closing_ = false;
  IpAddress peer_ip_;
  uint16_t peer_port_ = 0;
  std::string peer_text_;
  const SocketAddress* server_address_;  // kept by the context
  const uint64_t id_;
};

}  // namespace sluice
