// One HTTP/1.1 connection to an endpoint: carries one call at a time, then waits in the endpoint's
// idle list, still armed for reading, so that a close by the upstream is noticed at once. Created
// by an UpstreamCall; destroyed by the loop after its last callback.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "conf/resources.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/deadline.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/upstream_channel.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

class UpstreamCall;

class UpstreamConnection final : public UpstreamChannel,
                                 public StreamObserver,
                                 public Deadline::Observer,
                                 public UpstreamSocket,
                                 public ListNode<IdleTag> {
 public:
  // Connects; `call` gets OnConnected or OnFailed. Never fails at once. A connection with a
  // preface serves this call only.
  static UpstreamConnection& Connect(ProxyContext& context,
                                     const std::shared_ptr<UpstreamState>& upstream,
                                     const std::shared_ptr<Endpoint>& endpoint, UpstreamCall& call,
                                     UpstreamWay way);

  // The most recently used idle connection of `endpoint` that was made in that way, bound to
  // `call`; null when there is none.
  static UpstreamConnection* TakeIdle(Endpoint& endpoint, UpstreamCall& call,
                                      const UpstreamWay& way);

  void SendHead(const UpstreamRequest& request, const conf::UpstreamTimeouts& timeouts) override;
  void SendBody(std::string_view bytes) override;
  void FinishBody(const HeaderList& trailers) override;
  void BeginTunnel() override { in_tunnel_ = true; }
  void PauseReading() override;
  void ResumeReading() override;
  void Release(const conf::UpstreamConfig& config) override;
  void Abort() override;
  bool is_reused() const override {
    return calls_ > 1 && stream_.bytes_received() == received_before_;
  }
  const Endpoint& endpoint() const override { return *endpoint_; }

  void OnConnected(Status status) override;
  void OnSecured(Status status) override;
  void OnRead(std::string_view bytes) override;
  void OnRelayed(uint64_t count) override;
  void OnEof() override;
  void OnStreamError(int error_number) override;
  void OnBlocked() override;
  void OnWritable() override;
  void OnClosed() override;
  void OnDeadline() override;

 private:
  enum class State : uint8_t { kConnecting, kIdle, kBusy, kClosing };

  UpstreamConnection(ProxyContext& context, std::shared_ptr<UpstreamState> upstream,
                     std::shared_ptr<Endpoint> endpoint);
  ~UpstreamConnection() override = default;

  void ReadResponse(std::string_view bytes);
  bool HandleEvent(CodecEvent event, std::string_view rest);  // false: stop
  void TryRelay();
  void LeaveIdle();
  void OnUsable();
  void CloseAfterFlush();
  void FreePlace();
  void Close();
  void FailCall(const Error& error);
  bool HeadCame() const;  // the final response's, with which relaying begins
  Error ConnectionLost(ErrorCode code, std::string_view detail) const;
  void UpdateDeadline();

  // What every request needs stands together: there may be hundreds.
  ProxyContext& context_;
  const std::shared_ptr<UpstreamState> upstream_;
  const std::shared_ptr<Endpoint> endpoint_;
  UpstreamCall* call_ = nullptr;
  std::unique_ptr<Http1Decoder> decoder_;  // from a response's first byte to its last
  Deadline deadline_;
  conf::UpstreamTimeouts timeouts_;
  State state_ = State::kConnecting;
  Method method_ = Method::kOther;
  bool chunked_request_ = false;
  bool request_sent_ = false;
  bool response_done_ = false;
  bool keep_alive_ = false;
  bool in_tunnel_ = false;
  bool blocked_ = false;
  uint32_t calls_ = 0;
  uint64_t sent_before_ = 0;      // stream_.bytes_sent() when this call began
  uint64_t received_before_ = 0;  // likewise
  Stream stream_;
  UpstreamWay way_;
  size_t unsent_at_deadline_ = 0;
};

}  // namespace sluice
