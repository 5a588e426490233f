// Getting one request answered by one upstream: asks whether it may, picks an endpoint, takes or
// makes a connection, sends, and tries again elsewhere where that is safe. Part of an Exchange,
// which it tells what came back. Keeps a copy of a small request body for as long as another
// attempt is possible.
//
//   Start ─► [a place] ─► [a name] ─► pick ─► [a connection's place] ─► attempt ─► response
//                                      ▲                                  │
//                                      └─── [back-off] ◄── to be repeated ┘        [ ] may wait
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/buffer.h"
#include "gateway/http/message.h"
#include "gateway/net/watchers.h"
#include "gateway/proxy/attempt_outcome.h"
#include "gateway/proxy/call_permit.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/retry_policy.h"
#include "gateway/proxy/upstream_channel.h"
#include "gateway/proxy/upstream_state.h"

namespace sluice {

class Stream;
class Http2Channel;

class UpstreamCall final : public UpstreamState::Waiter,
                           public PlaceWaiter,
                           public Deadline::Observer {
 public:
  UpstreamCall(ProxyContext& context, Exchange& exchange);
  ~UpstreamCall();

  // Begins the first attempt. What the exchange pinned outlives the call.
  void Start(std::shared_ptr<UpstreamState> upstream, const conf::UpstreamConfig& config,
             const conf::UpstreamTimeouts& timeouts);

  // The request body, as it comes. Before a connection is there it is kept.
  void SendBody(std::string_view bytes);
  void FinishBody(const HeaderList& trailers);

  // The response head that was just given opens a tunnel.
  void BeginTunnel() { channel_->BeginTunnel(); }
  void EndTunnel();  // both sides have ended; the upstream still gets what is unsent

  void PauseResponse();
  void ResumeResponse();

  // The exchange's own time limit has passed: ends the call as a failure of the upstream.
  void Fail(const Error& error);
  // Ends the call: a finished connection goes back to the pool, an unfinished one is closed.
  void End();
  void Reset();  // ready for the next exchange; keeps memory

  bool holds_body_back() const { return client_paused_; }  // until ResumeRequestBody
  const conf::UpstreamTimeouts& timeouts() const { return timeouts_; }
  uint32_t attempts() const { return attempts_; }
  Duration connect_time() const { return connect_time_; }
  // After a failure with 503: when it may be worth coming again; zero: nobody knows.
  Duration retry_after() const { return retry_after_; }
  const Endpoint* endpoint() const { return tried_.empty() ? nullptr : tried_.back().get(); }

  // From the connection.
  Stream* relay_sink() const;  // where the body may go without us; null: it must come through
  void OnConnected();
  void OnInformational(ResponseHead& head);
  void OnResponseHead(ResponseHead& head);
  void OnResponseData(std::string_view bytes);
  void OnResponseRelayed(uint64_t count);  // of the body, straight to relay_sink()
  void OnResponseEnd(const HeaderList& trailers);
  void OnTunnelEnd();                 // the upstream sends no more; it may still be sent to
  void OnFailed(const Error& error);  // the connection is closed already
  void OnBlocked();
  void OnWritable();

  // What the call waits for, and that it has waited for too long.
  void OnEndpointsChanged() override;
  bool OnPlaceFree() override;
  void OnDeadline() override;

 private:
  using Endpoints = std::vector<std::shared_ptr<Endpoint>>;
  enum class Wait : uint8_t { kNothing, kName, kRequestPlace, kConnectionPlace, kBackOff, kHead };

  void Attempt();
  void AttemptOn(std::shared_ptr<Endpoint> endpoint, bool fresh);
  void BeginAttempt(const std::shared_ptr<Endpoint>& endpoint, UpstreamWay way);
  UpstreamWay WayTo(const Endpoint& endpoint) const;
  bool TakeConnection(Endpoint& endpoint, bool fresh, UpstreamWay& way, bool waited);
  std::shared_ptr<Endpoint> Pick(Endpoints& excluded);
  std::shared_ptr<Endpoint> PickAgain();
  void WaitForPlace(Wait what);
  void WatchHead();
  void StopWaiting();
  // After an attempt that ended in that way (`error`: null for a response) begins another one, if
  // that is possible; otherwise changes nothing.
  bool TryAgain(RetryCondition condition, const Error* error, bool stale);
  bool TakeRetry(RetryCondition condition);
  void DropAttempt();
  void OnHead();
  void OnAttemptFailed(const Error& error, bool stale);
  void GiveUp(const Error& error);
  void SendRequest();
  void Occupy(Endpoint* endpoint);
  void Report(AttemptEnd end);
  std::string ProxyPreface() const;

  // What every response needs stands together: see Exchange.
  ProxyContext& context_;
  Exchange& exchange_;
  std::shared_ptr<UpstreamState> upstream_;
  const conf::UpstreamConfig* config_ = nullptr;
  UpstreamChannel* channel_ = nullptr;
  Endpoints tried_;               // the current one is last
  Endpoint* occupied_ = nullptr;  // of tried_: where this call is counted
  Duration connect_time_{};
  Duration retry_after_{};
  uint32_t attempts_ = 0;
  uint32_t retries_ = 0;
  uint32_t retries_left_ = 0;
  int status_ = 0;          // of this attempt's response
  bool reported_ = false;   // how this attempt ended
  bool connected_ = false;  // the head of the request was sent on channel_
  bool body_done_ = false;
  bool replayable_ = true;
  bool stale_retried_ = false;
  bool next_is_fresh_ = false;
  bool client_paused_ = false;
  bool response_started_ = false;
  bool has_trailers_ = false;
  bool timed_ = false;  // this attempt's latency is observed
  Wait wait_ = Wait::kNothing;
  CallPermit permit_;
  std::shared_ptr<Endpoint> next_;  // of the attempt that waits
  Buffer replay_;
  conf::UpstreamTimeouts timeouts_;
  std::unique_ptr<Http2Channel> http2_;  // made at the first use
  Deadline deadline_;                    // of wait_
  std::unique_ptr<Timer> back_off_;      // made at the first one: exact, which deadlines are not
  HeaderList trailers_;                  // with has_trailers_
  MonoTime started_{};
  MonoTime attempt_started_{};
};

}  // namespace sluice
