// One request and its response: the middle of the gateway, between a client connection and an
// upstream call. Taken from the context's free list when a head is complete, given back when the
// exchange is over; everything it needs lives in it.
//
//   kIdle ──Begin──► kCollecting (where routing or plugins need it) ──┐
//     │               plugins: rewrite, access                        ▼
//     │ Refuse                                              kCalling: waiting for a response
//     ▼                                                               │ head
//   kDone ◄──────── kRelaying: both bodies flow ◄─────────────────────┘
//     ▲                     │ an attempt failed: error reply, or a cut response
//     ├─────────────────────┘
//     └─────────── kTunnel: bytes flow, after a 101 that was asked for
//
// While a plugin has suspended it (in kCollecting or kRelaying), the side that speaks is not read.
//
// The client connection is told when the response is complete; it owns what happens to the rest of
// a request body that nobody wants any more.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/arena.h"
#include "gateway/base/buffer.h"
#include "gateway/http/message.h"
#include "gateway/http/request_view.h"
#include "gateway/net/deadline.h"
#include "gateway/plugin/chain_run.h"
#include "gateway/proxy/proxy_context.h"
#include "gateway/proxy/tunnel.h"
#include "gateway/proxy/upstream_call.h"
#include "gateway/routing/router.h"

namespace sluice {

class ExchangeClient;
class ExchangePlugins;
struct UpstreamRequest;

class Exchange final : public Deadline::Observer, public Tunnel::Observer {
 public:
  explicit Exchange(ProxyContext& context);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  // A request head is complete: normalise, match, call. `head` outlives the exchange.
  void Begin(ExchangeClient& client, RequestHead& head);
  // A request of the gateway itself: straight to that upstream of `active`, at most for `limit`.
  // No route, no plugin, no line in the access log.
  void BeginOwn(ExchangeClient& client, RequestHead& head,
                std::shared_ptr<const ActiveSnapshot> active, size_t upstream, Duration limit);
  // The request cannot be served, whatever it was: reply and end. `head` may be half-filled.
  void Refuse(ExchangeClient& client, RequestHead& head, const Error& error);
  // There was no request that could be answered: only log it.
  void Record(ExchangeClient& client, RequestHead& head, const Error& error);

  // From the client.
  void OnRequestData(std::string_view bytes);
  void OnRequestEnd(const HeaderList& trailers);  // which outlive the exchange, if there are some
  void OnRequestFailed(const Error& error);       // the body is malformed, too slow, or too large
  void OnClientGone(ErrorCode reason);
  // Ends a tunnel in order: the client is told, in WebSocket's words if possible. False: it is
  // none.
  bool EndTunnel(ErrorCode reason);
  void PauseResponse();
  void ResumeResponse();

  // From the call.
  void OnInformational(ResponseHead& head);
  void OnResponseHead(ResponseHead& head);
  void OnResponseData(std::string_view bytes);
  void OnResponseRelayed(uint64_t count);
  void OnResponseEnd(const HeaderList& trailers);
  void OnTunnelEnd();
  void OnCallFailed(const Error& error);
  void PauseRequestBody();
  void ResumeRequestBody();

  // From the chain: a suspension is over.
  void OnChainResumed(ChainRun::Result result);
  // From the call: an attempt is about to be sent.
  void OnAttempt(const Endpoint& endpoint);

  void OnTunnelIdle() override { EndTunnel(ErrorCode::kTunnelIdle); }

  void Reset();  // ready for the next request; called when it is given back

  // The client's stream, when the response body may go there byte for byte; otherwise null.
  Stream* relay_sink() const;

  void OnDeadline() override;  // timeout.total, or the client's own by grpc-timeout

  const RequestView& view() const { return view_; }
  ErrorCode reason() const { return reason_; }  // why it ended; of one that is over
  const std::shared_ptr<const ActiveSnapshot>& active() const { return active_; }
  Method upstream_method() const;  // the client's, or a plugin's
  // How the call's connections are secured; null: plain text.
  const std::shared_ptr<const TlsClientContext>& upstream_tls() const {
    return active_->tls->upstream(upstream_index_);
  }
  // By what the balancer places this request; empty: by nothing. Valid until `scratch` changes.
  std::string_view HashKeyText(std::string& scratch) const {
    const HashKey* key = active_->snapshot->hash_key(upstream_index_);
    return key == nullptr ? std::string_view() : key->Of(view_, scratch);
  }
  // The request for an attempt at `endpoint`.
  UpstreamRequest RequestFor(const Endpoint& endpoint, const conf::UpstreamConfig& config) const;

 private:
  enum class State : uint8_t { kIdle, kCollecting, kCalling, kRelaying, kTunnel, kDone };

  void Prepare(ExchangeClient& client, RequestHead& head);
  Status Normalize();
  Status CheckMethod() const;
  Status CheckBodyLength() const;
  uint64_t body_limit() const;
  Status CheckTls() const;
  bool NeedsFormBody() const;
  void MatchRoute();
  void BeginPlugins(const Chain& chain);
  void RunPlugins();
  void CollectBody(uint64_t limit);
  void OnPluginsDone(ChainRun::Result result);
  void Call();
  void CallUpstream(size_t index, const conf::UpstreamTimeouts& timeouts, Duration total);
  bool FilterHead(ResponseHead& head, bool from_upstream, std::string_view body = {});
  void OnHeadFiltered(ChainRun::Result result, bool was_held);
  void OnFilteredData(std::string_view bytes);
  void OnFilteredEnd(const HeaderList& trailers);
  void SendFiltered(std::string_view bytes, bool is_last);
  void EndFiltered(const HeaderList& trailers);
  void ReplyFromPlugin();
  void ReplyPluginFailed();
  void RefuseBody(uint64_t limit);
  void Respond(ResponseHead& head, std::string_view body, ErrorCode reason);
  void SetDeadline(Duration total);
  void OnSwitchingProtocols(const ResponseHead& head);
  void OnTunnelSideEnd(Tunnel::Side side);
  void AnswerOptions();
  void LogRefusal(const Error& error) const;
  void Reply(const Error& error);
  void ReplyInGrpc(ErrorCode reason, int status, std::string_view text);
  void Finish(ErrorCode reason);
  void Count(uint64_t now);
  void WriteAccessRecord(uint64_t now);

  // Hundreds are open at one time, and the caches are small: what a response needs stands together,
  // up to the first half of `call_`.
  ProxyContext& context_;
  ExchangeClient* client_ = nullptr;
  RequestHead* request_head_ = nullptr;
  State state_ = State::kIdle;
  bool deadline_is_ours_ = false;  // by timeout.total, not the client's
  bool has_plugins_ = false;       // a chain applies
  bool is_own_ = false;            // the gateway asks
  bool filters_response_ = false;  // the response goes through their filters
  bool suspended_ = false;         // by a plugin
  bool request_ended_ = false;
  bool client_is_blocked_ = false;
  ErrorCode reason_ = ErrorCode::kNone;
  ErrorCode end_reason_ = ErrorCode::kNone;  // of a response that is on its way
  int status_ = 0;
  int upstream_status_ = 0;
  uint64_t body_bytes_out_ = 0;
  uint64_t head_received_ = 0;  // ticks
  std::shared_ptr<const ActiveSnapshot> active_;
  Tunnel tunnel_;
  UpstreamCall call_;
  uint64_t body_bytes_in_ = 0;
  RouteMatch match_;
  const conf::RouteConfig* route_ = nullptr;
  const conf::UpstreamConfig* upstream_ = nullptr;
  size_t upstream_index_ = 0;
  RequestView view_;
  Deadline deadline_;
  Arena arena_{2048};
  const HeaderList* request_trailers_ = nullptr;  // with request_ended_; null: none
  Buffer collected_;                              // of the request body, before the call begins
  uint64_t collect_limit_ = 0;
  std::unique_ptr<ExchangePlugins> plugins_;  // made at the first use
  RequestId id_;
  // Ticks.
  uint64_t started_ = 0;
  uint64_t called_ = 0;  // the upstream
};

}  // namespace sluice
