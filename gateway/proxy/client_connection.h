// One HTTP/1.x connection from a client: bytes to requests, responses to bytes, timeouts of the
// client's side. Serves one exchange at a time; pipelined requests wait in a bounded buffer.
// Created when a socket is accepted, freed by the context after the stream's last callback.
//
//   kReady ─head─► kServing ─response and request done─► kReady
//                     │ response done, body still coming
//                     ├──► kDiscarding ─end of body─► kReady     (up to a cap)
//                     └──► kLingering ─peer closes, or time─► kClosing
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/address.h"
#include "gateway/base/buffer.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/deadline.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {

class ClientConnection final : public StreamObserver,
                               public Deadline::Observer,
                               public ListNode<ActiveTag>,
                               public ListNode<IdleTag> {
 public:
  // Takes `fd`, a connected descriptor, over. `listener` is the address that it came in on, kept by
  // the context.
  static void Accept(ProxyContext& context, int fd, const SocketAddress& peer,
                     const SocketAddress& listener);

  // Who it is.
  const IpAddress& peer_ip() const { return peer_ip_; }
  uint16_t peer_port() const { return peer_port_; }
  std::string_view peer_text() const { return peer_text_; }
  const SocketAddress& server_address() const { return *server_address_; }
  uint16_t listen_port() const { return server_address_->port(); }
  uint64_t id() const { return id_; }
  uint64_t request_number() const { return request_number_; }
  uint64_t request_bytes_in() const { return request_bytes_in_; }
  uint64_t response_bytes_out() const { return response_bytes_out_; }
  bool is_serving(const Exchange& exchange) const { return exchange_.get() == &exchange; }

  // From the exchange.
  void SendContinue();
  void SendInformational(const ResponseHead& head);
  void SendResponseHead(const ResponseHead& head, std::string_view via);
  void SendResponseData(std::string_view bytes);
  Stream* relay_sink() { return response_chunked_ ? nullptr : &stream_; }
  void CountRelayed(uint64_t count) { response_bytes_out_ += count; }
  void FinishResponse(const HeaderList& trailers);
  void AbortResponse();  // the body cannot be completed: cut it visibly
  void CloseAfterResponse() { close_after_response_ = true; }
  void PauseRequestBody();
  void ResumeRequestBody();
  void OnExchangeDone();

  // From the server.
  void BeginDrain();             // no further request after the current one
  void Close(ErrorCode reason);  // at once; `reason` is logged for the exchange under way

  void OnConnected(Status) override {}
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnStreamError(int error_number) override;
  void OnBlocked() override;
  void OnWritable() override;
  void OnClosed() override;
  void OnDeadline() override;

 private:
  friend class ProxyContext;  // Reap
  enum class State : uint8_t { kReady, kServing, kDiscarding, kLingering, kClosing };
  enum class Waiting : uint8_t { kNothing, kHead, kIdle, kBody, kSend, kLinger };

  ClientConnection(ProxyContext& context, const SocketAddress& peer, const SocketAddress& listener);
  ~ClientConnection();

  std::string_view Process(std::string_view bytes);  // returns what has to wait
  void ProcessLeftover();
  bool in_head() const;
  bool CanProcess() const;
  void HandleEvent(CodecEvent event);
  void BeginExchange();
  void OnRequestDone();
  void OnDecodeError();
  void NextRequest();
  void Send(std::string_view bytes);
  void Linger();
  void CloseGracefully();
  void UpdateDeadline();
  void WaitFor(Waiting waiting, Duration timeout);
  void OnSendDeadline();

  ProxyContext& context_;
  Stream stream_;
  std::unique_ptr<Http1Decoder> decoder_;  // null between requests
  Deadline deadline_;
  std::unique_ptr<Exchange> exchange_;  // kServing only
  Buffer leftover_;                     // received, not yet decoded
  const IpAddress peer_ip_;
  const uint16_t peer_port_;
  const std::string peer_text_;
  const SocketAddress* server_address_;
  const uint64_t id_;
  State state_ = State::kReady;
  Waiting waiting_ = Waiting::kNothing;
  bool processing_ = false;
  bool request_done_ = false;
  bool body_paused_ = false;
  bool blocked_ = false;
  bool eof_ = false;
  bool head_begun_ = false;
  bool continue_sent_ = false;
  bool response_chunked_ = false;
  bool close_after_response_ = false;
  uint64_t request_number_ = 0;
  uint64_t request_bytes_in_ = 0;
  uint64_t response_bytes_out_ = 0;
  uint64_t discarded_ = 0;
  size_t unsent_at_deadline_ = 0;
};

}  // namespace sluice
