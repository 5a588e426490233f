// A chain at work on one request: an index that goes through the steps, stops at a verdict and goes
// on when a ticket says so. Part of an exchange, made at its first use and recycled with it.
//
//   RunRequest ─► kDone │ kReply │ kSuspended ─► Host::OnChainResumed(kDone │ kReply)
//              └► kNeedsBody: again, once there is SetBody
//   RunHeaderFilter the same
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/base/buffer.h"
#include "gateway/observe/plugin_cost.h"
#include "gateway/plugin/chain.h"
#include "gateway/plugin/request_context.h"
#include "gateway/plugin/sub_request.h"
#include "gateway/plugin/ticket.h"

namespace sluice {

class ChainRun final : public Suspendable {
 public:
  enum class Result : uint8_t {
    kDone,       // all steps were taken
    kReply,      // reply() ends the request
    kFailed,     // a plugin failed, closed
    kSuspended,  // OnChainResumed will say
    kNeedsBody,  // the next plugin reads the body, of body_wanted() bytes at most
  };

  // Who runs it.
  class Host {
   public:
    // The end of a suspension. Never from inside a Run call.
    virtual void OnChainResumed(Result result) = 0;
    // OnTimeLimit is due then; MonoTime::max(): not any more.
    virtual void SetTimeLimit(MonoTime at) = 0;
    // For requests of plugins.
    virtual std::shared_ptr<SubRequestSender> sender() = 0;

   protected:
    ~Host() = default;
  };

  // What a run works with; all outlives it. `costs` has the cells of the snapshot by number; empty:
  // nothing is counted.
  struct Parts {
    RequestView& view;
    RequestHead& head;
    Arena& arena;
    PluginServices& services;
    SuspensionTable& suspensions;
    std::span<PluginCost* const> costs;
  };

  explicit ChainRun(Host& host) : host_(host), request_(*this) {}
  ~ChainRun() { End(); }
  ChainRun(const ChainRun&) = delete;
  ChainRun& operator=(const ChainRun&) = delete;

  // `chain` outlives the run.
  void Begin(const Chain& chain, const Parts& parts);
  // The request is over: forgets what plugins have kept for it; tickets have no more effect.
  void End();

  Result RunRequest() { return Run(); }
  // `response` has to live until the result is not kSuspended.
  Result RunHeaderFilter(ResponseContext& response);
  void RunBeforeProxy(std::string_view node);
  void RunBodyFilter(BodyPiece& piece);
  // Once the request is over, before anybody logs it: takes out what plugins have called secret.
  void HideSecrets();
  void RunLog(const AccessRecord& record);
  void OnTimeLimit();
  // What the request waits for is not wanted any more.
  void CancelSuspension() {
    if (suspended_ != nullptr) ForgetSuspension();
  }

  // All of the client's body, perhaps without a byte.
  void SetBody(std::string_view body) {
    if (!std::exchange(has_body_, true)) request_.body_ = body;
  }
  bool has_body() const { return has_body_; }
  uint64_t body_wanted() const { return body_wanted_; }
  // Of the client's body, once all plugins that the request meets are known.
  void SampleBody(std::string_view bytes) {
    sample_.Append(bytes.substr(0, chain_.request_body_sample - sample_.size()));
  }
  // The response's fields for OnLog.
  HeaderList& kept_fields() { return request_.response_fields_; }
  bool is_suspended() const { return suspended_ != nullptr; }
  bool filters_response() const { return !chain_.header_filter.empty(); }
  bool filters_body() const { return !watching_.empty(); }
  bool logs() const { return !chain_.log.empty(); }

  // What plugins have said.
  RequestContext& request() { return request_; }
  const PluginReply& reply() const { return request_.reply_; }
  const UpstreamRewrite& rewrite() const { return request_.rewrite_; }
  int32_t upstream() const { return request_.upstream_; }   // -1: the route's
  std::string_view body() const { return request_.body_; }  // as they leave it, after SetBody
  std::optional<uint64_t> body_limit() const { return request_.body_limit_; }
  std::string_view failed_plugin() const { return failed_plugin_; }
  std::string_view failure() const { return failure_; }
  // What they asked for of the response before there was one.
  void ApplyTo(ResponseHead& head);

  void OnResume(Verdict verdict) override;
  void OnTicketDropped() override;
  RequestContext& suspended_request() override { return request_; }

 private:
  friend class RequestContext;

  enum class Stage : uint8_t { kRequest, kHeaderFilter };

  Result Run();
  void Join(std::span<const ChainPlugin> plugins);
  Verdict Call(const ChainStep& step);
  Verdict CallHook(const ChainStep& step);
  bool IsFilteredOut(const PluginInstance& instance) {
    return instance.meta.filter != nullptr && Filter(instance);
  }
  bool Filter(const PluginInstance& instance);
  bool NeedsBody(const Plugin& plugin);
  // The result of the step before index_; nullopt: the next one, please.
  bool Settle(Verdict verdict, Result& result);
  Result SettleFailure(const PluginInstance& instance);
  Result SettleReply(const PluginInstance& instance);
  void EndSuspension(Verdict verdict);
  void ForgetSuspension();
  Ticket Suspend(Duration limit);
  Verdict Delay(Duration time, Verdict then);
  std::span<const ChainStep> steps() const {
    return stage_ == Stage::kRequest ? chain_.request : chain_.header_filter;
  }
  PluginCost& CostOf(const ChainStep& step);

  Host& host_;
  RequestContext request_;
  Chain chain_;
  std::span<PluginCost* const> costs_;
  SuspensionTable* suspensions_ = nullptr;
  ResponseContext* response_ = nullptr;
  Stage stage_ = Stage::kRequest;
  size_t index_ = 0;                         // of the next step
  const PluginInstance* current_ = nullptr;  // whose hook runs
  // The suspension: of which step, and its ticket's key; resumed_ when that was used already.
  const ChainStep* suspended_ = nullptr;
  uint64_t suspended_at_ = 0;  // ticks
  SuspensionTable::Key key_;
  bool in_hook_ = false;
  bool has_body_ = false;  // SetBody
  uint64_t body_wanted_ = 0;
  bool delayed_ = false;  // the time limit is the end that is wanted
  bool resumed_ = false;
  Verdict resumed_with_ = Verdict::kContinue;
  std::string_view failed_plugin_;
  std::string_view failure_;
  std::optional<FailureMode> failure_mode_;  // other than the plugin's traits say
  Buffer sample_;                            // of the request's body
  std::vector<std::pair<const PluginInstance*, bool>> filtered_;  // by `_meta.filter`, once
  std::vector<const PluginInstance*> watching_;                   // the response's body
};

}  // namespace sluice
