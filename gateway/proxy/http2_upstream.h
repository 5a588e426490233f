// HTTP/2 to an upstream: one connection for each worker and endpoint carries the requests of many
// calls; another one is made only when the peer allows no further stream. While one is being made,
// calls wait for it instead of making their own, all but the first until the peer's SETTINGS have
// said how many streams it takes. Where the upstream's connections are limited and no further one
// is allowed, they wait for a stream.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gateway/http/http2_codec.h"
#include "gateway/net/deadline.h"
#include "gateway/net/stream.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/upstream_channel.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

class Http2Upstream;
class UpstreamCall;

// The stream of one call; part of that call.
class Http2Channel final : public UpstreamChannel,
                           public Deadline::Observer,
                           public ListNode<Http2Channel> {
 public:
  Http2Channel(ProxyContext& context, UpstreamCall& call);

  // Joins a connection to `endpoint`. True: SendHead has to follow at once. False: the call gets
  // OnConnected or OnFailed later. A connection that has to be made takes the place over that `way`
  // counts among those of `upstream`.
  bool Join(ProxyContext& context, const std::shared_ptr<UpstreamState>& upstream,
            const std::shared_ptr<Endpoint>& endpoint, const conf::UpstreamConfig& config,
            UpstreamWay way);

  void SendHead(const UpstreamRequest& request, const conf::UpstreamTimeouts& timeouts) override;
  void SendBody(std::string_view bytes) override;
  void FinishBody(const HeaderList& trailers) override;
  void BeginTunnel() override { SLUICE_CHECK(false); }  // never asked of an HTTP/2 upstream
  void PauseReading() override;
  void ResumeReading() override;
  void Release(const conf::UpstreamConfig& config) override;
  void Abort() override;
  bool is_reused() const override { return reused_; }
  const Endpoint& endpoint() const override { return *endpoint_; }

  void OnDeadline() override;

 private:
  friend class Http2Upstream;

  void OnEvent(const Http2Event& event);
  void OnReset(Http2ErrorCode code);
  void OnConnectionLost(ErrorCode code, std::string_view detail);
  void Fail(const Error& error);
  void Leave();
  void UpdateDeadline();

  UpstreamCall& call_;
  Deadline deadline_;
  conf::UpstreamTimeouts timeouts_;
  std::shared_ptr<Endpoint> endpoint_;
  Http2Upstream* connection_ = nullptr;
  Http2Stream* stream_ = nullptr;
  size_t unconsumed_ = 0;  // given to the call while it was paused
  size_t unsent_at_deadline_ = 0;
  bool reused_ = false;
  bool paused_ = false;
  bool blocked_ = false;
  bool request_sent_ = false;
  bool response_begun_ = false;
  bool response_done_ = false;
};

class Http2Upstream final : public StreamObserver,
                            public Deadline::Observer,
                            public OutputSource,
                            public UpstreamSocket,
                            public ListNode<EndpointTag> {
 public:
  void Abort() override;  // at once
  // No further calls; closes when those under way are done.
  void Retire();
  bool is_idle() const { return channels_.empty() && waiting_.empty(); }

  // A call can Join without a further connection.
  static bool IsThere(Endpoint& endpoint, const UpstreamWay& way) {
    return FindOpen(endpoint, way) != nullptr || FindConnecting(endpoint, way) != nullptr;
  }

  void OnConnected(Status status) override;
  void OnSecured(Status status) override;
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnStreamError(int error_number) override;
  void OnBlocked() override { blocked_ = true; }
  void OnWritable() override;
  void OnClosed() override;
  void OnDeadline() override;
  void OnCallbackEnd() override;
  void OnTurnEnd() override;

 private:
  friend class Http2Channel;
  enum class State : uint8_t { kConnecting, kOpen, kRetired, kClosing };

  struct Settings {
    UpstreamWay way{};
    Duration idle_timeout{};
    uint32_t most_requests = 0;
    // Among its connections this one is counted; null: they are not limited.
    std::shared_ptr<UpstreamState> counted_by{};
  };

  Http2Upstream(ProxyContext& context, std::shared_ptr<Endpoint> endpoint, Settings settings);
  ~Http2Upstream() override = default;

  static Http2Upstream& Connect(ProxyContext& context, const std::shared_ptr<Endpoint>& endpoint,
                                Settings settings);
  template <typename Suits>
  static Http2Upstream* Find(Endpoint& endpoint, const UpstreamWay& way, Suits suits);
  static Http2Upstream* FindOpen(Endpoint& endpoint, const UpstreamWay& way);
  static Http2Upstream* FindConnecting(Endpoint& endpoint, const UpstreamWay& way);

  void OnUsable();
  void OnSettled();

  bool CanOpenStream() const;
  void ServeWaiting();
  void PassOnWaiting();
  void PassOn(Http2Channel& channel);
  Http2Upstream* ConnectAnother();
  void OnUseChanged();
  void Submit(Http2Channel& channel, const UpstreamRequest& request, bool ended);
  void TakeEvents();
  void SendOutput();
  void KeepOutput();
  void CloseIfDone();
  void FailAll(ErrorCode code, std::string_view detail);
  void Close();
  void UpdateDeadline();

  ProxyContext& context_;
  const std::shared_ptr<Endpoint> endpoint_;
  Stream stream_;
  Http2Codec codec_;
  Deadline deadline_;
  const Settings settings_;
  bool has_place_;            // which it gives back
  bool counts_idle_ = false;  // among the upstream's idle ones
  State state_ = State::kConnecting;
  bool blocked_ = false;  // the socket is full
  bool pinged_ = false;   // and nothing has come since
  bool settled_ = false;  // how many streams the peer takes is known, and used
  uint32_t requests_ = 0;
  size_t lent_ = 0;  // body bytes since the callback began
  std::vector<Http2Field> fields_;
  IntrusiveList<Http2Channel> waiting_;   // for the connection, or for a stream
  IntrusiveList<Http2Channel> channels_;  // with a stream
};

}  // namespace sluice
