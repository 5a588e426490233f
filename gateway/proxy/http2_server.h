// HTTP/2 on a client connection: each stream is a client of its own to an exchange; all of them
// share the codec, and their output leaves together when the turn ends. A client that reads one
// stream slowly pauses the upstream of that stream only; a request body waits by not opening the
// window. Timeouts are found by a slow tick, so that a request sets no timer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gateway/base/buffer.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/http/http2_codec.h"
#include "gateway/net/loop.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/body_pace.h"
#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/client_protocol.h"
#include "gateway/proxy/exchange_client.h"

namespace sluice {

class Http2Server;

// One request of an HTTP/2 client. Lives from the stream's head until the codec has closed it.
class Http2ServerStream final : public ExchangeClient, public ListNode<Http2ServerStream> {
 public:
  explicit Http2ServerStream(Http2Server& server);
  ~Http2ServerStream();

  void SendContinue() override;
  void SendInformational(const ResponseHead& head) override;
  void SendResponseHead(const ResponseHead& head, std::string_view via) override;
  void SendResponseData(std::string_view bytes) override;
  void FinishResponse(const HeaderList& trailers) override;
  void AbortResponse() override;
  void BeginTunnel(const ResponseHead& head) override;
  void CloseAfterResponse() override {}  // the error concerns this stream only
  void PauseRequestBody() override;
  void ResumeRequestBody() override;
  void OnExchangeDone() override;
  Stream* relay_sink() override { return nullptr; }
  bool is_serving(const Exchange& exchange) const override { return exchange_.get() == &exchange; }

 private:
  friend class Http2Server;

  void Begin(Http2Stream& stream, uint64_t number);  // takes an exchange
  void OnEvent(const Http2Event& event);
  bool HoldEarly(const Http2Event& event);
  void AddWebSocketKey(RequestHead& head);
  void OnClosed(Http2ErrorCode code);
  void OnTick(MonoTime now);
  void FailBody();
  void Abandon(ErrorCode reason);  // the client does not get (the rest of) its response

  Http2Server& server_;
  Http2Stream* stream_ = nullptr;
  std::unique_ptr<Exchange> exchange_;  // until it is done
  bool paused_ = false;
  bool response_ended_ = false;  // with its head
  bool in_tunnel_ = false;
  std::array<char, 24> key_{};  // Sec-WebSocket-Key, as long as the request's head
  Buffer early_;                // came before the tunnel was open
  size_t unconsumed_ = 0;       // of the request body, passed on while paused
  // What had moved when the tick last saw progress.
  uint64_t moved_ = 0;
  MonoTime moved_at_{};
  BodyPace pace_;
};

class Http2Server final : public ClientProtocol, public OutputSource {
 public:
  explicit Http2Server(ClientConnection& connection);
  ~Http2Server() override;

  void Start() override;
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnBlocked() override { blocked_ = true; }  // streams block by themselves
  void OnWritable() override;
  void OnDeadline() override;
  void BeginDrain() override;
  bool EndTunnels(ErrorCode reason) override;
  void OnLost(ErrorCode reason) override;

  void OnCallbackEnd() override;
  void OnTurnEnd() override;

 private:
  friend class Http2ServerStream;

  void AddOutput() { context_.loop.AddOutput(*this); }
  void TakeEvents();
  void BeginStream(const Http2Event& event);
  void EndStream(Http2ServerStream& stream);
  void SendOutput();
  void EndExchanges(ErrorCode reason);
  void CloseGracefully();
  Duration TickPeriod() const;
  bool HasTimedOut(MonoTime now);  // the connection as a whole
  const conf::TimeoutConfig& timeouts() const { return context_.gateway().timeouts; }

  ClientConnection& connection_;
  ProxyContext& context_;
  Stream& stream_;
  Http2Codec codec_;
  IntrusiveList<Http2ServerStream> streams_;
  std::vector<std::unique_ptr<Http2ServerStream>> free_streams_;
  std::vector<Http2Field> fields_;  // of the head that is being sent
  uint64_t requests_ = 0;
  size_t lent_ = 0;  // body bytes since the callback began
  bool blocked_ = false;
  bool closing_ = false;
  bool draining_ = false;
  bool ticking_ = false;  // the deadline is the next tick
  MonoTime idle_since_{};
  // What had moved when the tick last saw progress: heads that came, bytes that left.
  uint64_t heads_ = 0;
  MonoTime heads_at_{};
  uint64_t sent_ = 0;
  MonoTime sent_at_{};
};

}  // namespace sluice
