#include "gateway/plugin/chain_run.h"

#include <algorithm>

#include "gateway/base/log.h"
#include "gateway/base/ticks.h"
#include "gateway/http/uri.h"
#include "gateway/plugin/consumer.h"

namespace sluice {

void ChainRun::Begin(const Chain& chain, const Parts& parts) {
  chain_ = chain;
  costs_ = parts.costs;
  suspensions_ = &parts.suspensions;
  stage_ = Stage::kRequest;
  index_ = 0;
  request_.view_ = &parts.view;
  request_.head_ = &parts.head;
  request_.arena_ = &parts.arena;
  request_.services_ = &parts.services;
  request_.route_id_ = chain.route_id;
  if (chain.authenticates) RemoveIdentityFields(parts.head.fields);
}

void ChainRun::End() {
  if (request_.arena_ == nullptr) return;
  if (suspended_ != nullptr) ForgetSuspension();
  for (auto* node = request_.states_; node != nullptr; node = node->next) {
    if (node->destroy != nullptr) node->destroy(node->state);
  }
  request_.states_ = nullptr;
  request_.arena_ = nullptr;
  request_.consumer_ = nullptr;
  request_.body_ = {};
  request_.body_limit_.reset();
  request_.reply_ = {};
  request_.rewrite_ = {};
  request_.upstream_ = -1;
  request_.response_changes_.clear();
  request_.response_fields_.Clear();
  request_.log_secrets_.clear();
  chain_ = {};
  response_ = nullptr;
  current_ = nullptr;
  delayed_ = resumed_ = has_body_ = false;
  failed_plugin_ = failure_ = {};
  filtered_.clear();
  watching_.clear();
  sample_.Clear();
}

ChainRun::Result ChainRun::RunHeaderFilter(ResponseContext& response) {
  stage_ = Stage::kHeaderFilter;
  index_ = 0;
  response_ = &response;
  return Run();
}

// Inlined: an idle plugin costs less than the calls on the way to it.
inline PluginCost& ChainRun::CostOf(const ChainStep& step) {
  static PluginCost uncounted;
  return step.cost < costs_.size() ? *costs_[step.cost] : uncounted;
}

inline Verdict ChainRun::CallHook(const ChainStep& step) {
  const Plugin& plugin = *step.instance->plugin;
  const HookCall call(CostOf(step));
  if (stage_ == Stage::kRequest) {
    return step.phase == Phase::kRewrite ? plugin.OnRewrite(request_) : plugin.OnAccess(request_);
  }
  response_->shadowed_ = step.instance->meta.shadow;
  response_->watched_ = false;
  const Verdict verdict = plugin.OnHeaderFilter(request_, *response_);
  if (response_->watched_) watching_.push_back(step.instance);
  return verdict;
}

inline Verdict ChainRun::Call(const ChainStep& step) {
  current_ = step.instance;
  in_hook_ = true;
  const Verdict verdict = CallHook(step);
  in_hook_ = false;
  if (verdict == Verdict::kSuspend && std::exchange(resumed_, false)) return resumed_with_;
  if (verdict != Verdict::kSuspend && (key_.generation != 0 || delayed_)) {
    ForgetSuspension();  // it has thought better of it
  }
  return verdict;
}

ChainRun::Result ChainRun::Run() {
  while (true) {
    if (stage_ == Stage::kRequest && index_ >= chain_.merge_point &&
        request_.consumer_ != nullptr) {
      Join(request_.consumer_->plugins);
    }
    if (index_ == steps().size()) return Result::kDone;
    const ChainStep& step = steps()[index_++];
    if (IsFilteredOut(*step.instance)) continue;
    if (step.reads_body && stage_ == Stage::kRequest && NeedsBody(*step.instance->plugin)) {
      --index_;
      return Result::kNeedsBody;
    }
    const Verdict verdict = Call(step);
    if (verdict == Verdict::kContinue) continue;
    Result result = Result::kDone;
    if (Settle(verdict, result)) return result;
  }
}

void ChainRun::Join(std::span<const ChainPlugin> plugins) {
  if (plugins.empty()) {
    chain_.merge_point = SIZE_MAX;
    return;
  }
  chain_ = JoinConsumer(chain_, plugins, *request_.arena_);
  index_ = 0;
}

bool ChainRun::Filter(const PluginInstance& instance) {
  for (const auto& [known, out] : filtered_) {
    if (known == &instance) return out;
  }
  const bool out = !instance.meta.filter->Matches(*request_.view_);
  filtered_.emplace_back(&instance, out);
  return out;
}

bool ChainRun::NeedsBody(const Plugin& plugin) {
  body_wanted_ = plugin.request_body_limit();
  // It may be there for another plugin, which takes more.
  if (body_wanted_ > 0) return !has_body_ || body().size() > body_wanted_;
  if (has_body_) return false;
  const BodyFraming& body = request_.head_->body;
  body_wanted_ = body.length;
  return body.kind == BodyFraming::Kind::kLength && body.length <= plugin.request_body_wish();
}

bool ChainRun::Settle(Verdict verdict, Result& result) {
  const ChainStep& step = steps()[index_ - 1];
  PluginCost& cost = CostOf(step);
  switch (verdict) {
    case Verdict::kContinue:
      return false;
    case Verdict::kSuspend:
      if (key_.generation == 0 && !delayed_) {
        failure_ = "it suspended the request without a ticket";
        return Settle(Verdict::kFail, result);
      }
      cost.suspensions.Add();
      suspended_ = &step;
      suspended_at_ = ReadTicks();
      result = Result::kSuspended;
      return true;
    case Verdict::kReply:
      cost.replies.Add();
      result = SettleReply(*step.instance);
      break;
    case Verdict::kFail:
      cost.failures.Add();
      result = SettleFailure(*step.instance);
      break;
  }
  if (result == Result::kDone && step.instance->meta.shadow) cost.shadowed.Add();
  return result != Result::kDone;
}

ChainRun::Result ChainRun::SettleReply(const PluginInstance& instance) {
  if (instance.meta.shadow) {
    Log(LogLevel::kInfo, "a plugin in shadow mode would have replied",
        {{"plugin", instance.kind->traits.name},
         {"route", request_.route_id_},
         {"status", request_.reply_.status}});
    request_.reply_ = {};
    return Result::kDone;
  }
  if (request_.reply_.status >= 400 && !instance.meta.error_response.empty()) {
    request_.reply_.body = request_.reply_.message = instance.meta.error_response;
    const bool json = instance.meta.error_response.front() == '{';
    request_.reply_.content_type = json ? "application/json" : "text/plain; charset=utf-8";
  }
  return Result::kReply;
}

ChainRun::Result ChainRun::SettleFailure(const PluginInstance& instance) {
  const PluginTraits& traits = instance.kind->traits;
  const FailureMode mode = std::exchange(failure_mode_, {}).value_or(traits.on_failure);
  const bool open = mode == FailureMode::kOpen || instance.meta.shadow;
  Log(LogLevel::kWarn, "a plugin failed",
      {{"plugin", traits.name},
       {"route", request_.route_id_},
       {"mode", open ? "open" : "closed"},
       {"detail", failure_}});
  if (open) return Result::kDone;
  failed_plugin_ = traits.name;
  return Result::kFailed;
}

// --- suspension ----------------------------------------------------------------------------------

void ChainRun::ForgetSuspension() {
  suspensions_->Remove(std::exchange(key_, {}));
  suspended_ = nullptr;
  delayed_ = false;
  host_.SetTimeLimit(MonoTime::max());
}

Ticket ChainRun::Suspend(Duration limit) {
  SLUICE_CHECK(in_hook_ && key_.generation == 0);
  key_ = suspensions_->Add(*this);
  host_.SetTimeLimit(request_.services_->now() + limit);
  return {*suspensions_, key_};
}

Verdict ChainRun::Delay(Duration time, Verdict then) {
  if (current_->meta.shadow) return then;
  delayed_ = true;
  resumed_with_ = then;
  host_.SetTimeLimit(request_.services_->now() + time);
  return Verdict::kSuspend;
}

void ChainRun::OnResume(Verdict verdict) {
  if (verdict == Verdict::kSuspend) {
    failure_ = "it resumed a request with a suspension";
    verdict = Verdict::kFail;
  }
  key_ = {};
  host_.SetTimeLimit(MonoTime::max());
  if (!in_hook_) return EndSuspension(verdict);
  resumed_ = true;
  resumed_with_ = verdict;
}

void ChainRun::OnTicketDropped() {
  failure_ = "its ticket was dropped";
  OnResume(Verdict::kFail);
}

void ChainRun::OnTimeLimit() {
  if (suspended_ == nullptr) return;
  if (std::exchange(delayed_, false)) return EndSuspension(resumed_with_);
  suspensions_->Remove(std::exchange(key_, {}));
  failure_ = "it did not resume the request in time";
  EndSuspension(Verdict::kFail);
}

void ChainRun::EndSuspension(Verdict verdict) {
  const ChainStep& step = *std::exchange(suspended_, nullptr);
  CostOf(step).suspended.Add(ReadTicks() - suspended_at_);
  current_ = step.instance;
  Result result = Result::kDone;
  if (!Settle(verdict, result)) result = Run();
  if (result != Result::kSuspended) host_.OnChainResumed(result);
}

// --- the other phases ----------------------------------------------------------------------------

void ChainRun::RunBeforeProxy(std::string_view node) {
  for (const ChainStep& step : chain_.before_proxy) {
    if (IsFilteredOut(*step.instance)) continue;
    current_ = step.instance;
    const HookCall call(CostOf(step));
    step.instance->plugin->OnBeforeProxy(request_, node);
  }
}

void ChainRun::RunBodyFilter(BodyPiece& piece) {
  for (const ChainStep& step : chain_.body_filter) {
    if (std::find(watching_.begin(), watching_.end(), step.instance) == watching_.end()) continue;
    current_ = step.instance;
    const HookCall call(CostOf(step));
    step.instance->plugin->OnBodyFilter(request_, piece);
  }
}

namespace {

void HideArgument(RequestHead& head, const LogSecret& secret, Arena& arena) {
  if (head.query.empty()) return;
  const std::string query = ReplaceQueryArguments(head.query, secret.name, secret.shown);
  std::string target(head.target.substr(0, head.target.find('?') + 1));
  target += query;
  head.target = arena.Copy(target);
  head.query = head.target.substr(head.target.size() - query.size());
}

void HideCookie(RequestHead& head, const LogSecret& secret, Arena& arena) {
  std::string cookies;
  for (const HeaderField& field : head.fields) {
    if (field.id != HeaderId::kCookie) continue;
    cookies.append(cookies.empty() ? "" : "; ");
    cookies += ReplaceCookies(field.value, secret.name, secret.shown);
  }
  if (!cookies.empty()) head.fields.Set({"Cookie", arena.Copy(cookies), HeaderId::kCookie});
}

}  // namespace

void ChainRun::HideSecrets() {
  RequestHead& head = *request_.head_;
  for (const LogSecret& secret : request_.log_secrets_) {
    switch (secret.kind) {
      case LogSecret::Kind::kArgument:
        HideArgument(head, secret, *request_.arena_);
        break;
      case LogSecret::Kind::kCookie:
        HideCookie(head, secret, *request_.arena_);
        break;
      case LogSecret::Kind::kHeader:
        head.fields.Set({secret.name, secret.shown, FindHeaderId(secret.name)});
        break;
    }
  }
}

void ChainRun::RunLog(const AccessRecord& record) {
  for (const ChainStep& step : chain_.log) {
    if (IsFilteredOut(*step.instance)) continue;
    current_ = step.instance;
    const HookCall call(CostOf(step));
    step.instance->plugin->OnLog(request_, record);
  }
}

void ChainRun::ApplyTo(ResponseHead& head) {
  for (const HeaderChange& change : request_.response_changes_) {
    switch (change.kind) {
      case HeaderChange::Kind::kSet:
        head.fields.Set({change.name, change.value, FindHeaderId(change.name), true});
        break;
      case HeaderChange::Kind::kAdd:
        head.fields.Add({change.name, change.value, FindHeaderId(change.name), true});
        break;
      case HeaderChange::Kind::kRemove:
        head.fields.Remove(change.name);
        break;
    }
  }
}

}  // namespace sluice
