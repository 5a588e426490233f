// HTTP/1.x on a client connection: bytes to requests, responses to bytes, timeouts of the client's
// side. Serves one exchange at a time; pipelined requests wait in a bounded buffer.
//
//   kReady ─head─► kServing ─response and request done─► kReady
//                     │ response done, body still coming
//                     ├──► kDiscarding ─end of body─► kReady     (up to a cap)
//                     └──► kLingering ─peer closes, or time─► kClosing
//
// After an upgrade it is kServing to the end, and hands bytes on as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/base/buffer.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/body_pace.h"
#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/client_protocol.h"
#include "gateway/proxy/exchange_client.h"

namespace sluice {

class Http1Server final : public ClientProtocol, public ExchangeClient {
 public:
  explicit Http1Server(ClientConnection& connection);
  ~Http1Server() override;

  void SendContinue() override;
  void SendInformational(const ResponseHead& head) override;
  void SendResponseHead(const ResponseHead& head, std::string_view via) override;
  void SendResponseData(std::string_view bytes) override;
  void FinishResponse(const HeaderList& trailers) override;
  void AbortResponse() override;
  void BeginTunnel(const ResponseHead& head) override;
  void CloseAfterResponse() override { close_after_response_ = true; }
  void PauseRequestBody() override;
  void ResumeRequestBody() override;
  void OnExchangeDone() override;
  Stream* relay_sink() override { return response_chunked_ ? nullptr : &stream_; }
  bool is_serving(const Exchange& exchange) const override { return exchange_.get() == &exchange; }

  void Start() override;
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnBlocked() override;
  void OnWritable() override;
  void OnDeadline() override;
  void BeginDrain() override;
  bool EndTunnels(ErrorCode reason) override;
  void OnLost(ErrorCode reason) override;

 private:
  enum class State : uint8_t { kReady, kServing, kDiscarding, kLingering, kClosing };
  enum class Waiting : uint8_t { kNothing, kHead, kIdle, kBody, kSend, kLinger };

  std::string_view Process(std::string_view bytes);  // returns what has to wait
  void ProcessLeftover();
  void Proceed();
  bool in_head() const;
  bool CanProcess() const;
  bool HoldsRequests() const { return blocked_ && !leftover_.empty(); }
  void HandleEvent(CodecEvent event);
  void BeginExchange();
  void OnRequestDone();
  void OnDecodeError();
  void NextRequest();
  void OnTunnelBytes(std::string_view bytes);
  void Send(std::string_view bytes);
  void Linger();
  void CloseGracefully();
  void UpdateDeadline();
  void WaitFor(Waiting waiting, Duration timeout);
  void WaitForBody();
  void OnSendDeadline();

  ProxyContext& context_;
  Stream& stream_;
  std::unique_ptr<Http1Decoder> decoder_;  // null between requests
  std::unique_ptr<Exchange> exchange_;     // kServing only
  Buffer leftover_;                        // received, not yet decoded
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
  bool in_tunnel_ = false;  // kServing: bytes, not messages
  uint64_t discarded_ = 0;
  size_t unsent_at_deadline_ = 0;
  uint64_t sent_at_deadline_ = 0;  // of the response
  BodyPace pace_;
};

}  // namespace sluice
