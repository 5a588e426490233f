// What an exchange needs where plugins apply: the run of their chain, the timer of a suspension,
// and a response that waits until header_filter lets it go. Part of an exchange, made at its first
// use and recycled with it.
#pragma once

#include <optional>
#include <string_view>

#include "gateway/base/buffer.h"
#include "gateway/http/message.h"
#include "gateway/net/watchers.h"
#include "gateway/plugin/chain_run.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {

class Exchange;

class ExchangePlugins final : public ChainRun::Host {
 public:
  ExchangePlugins(ProxyContext& context, Exchange& exchange);

  void Begin(const Chain& chain, RequestView& view, RequestHead& head, Arena& arena,
             std::span<PluginCost* const> costs);
  void End();  // the exchange is over

  // The response's head goes through header_filter. `head` may change until the result is not
  // kSuspended; then it is copied.
  ChainRun::Result FilterHead(const ResponseHead& head, bool from_upstream, Arena& arena);
  // This head goes to the client: for plugins that log.
  void KeepFields(const ResponseHead& sent, Arena& arena);
  // Bytes as the plugins leave them; valid until the callback ends.
  std::string_view FilterBody(std::string_view bytes, bool is_last);

  ChainRun run;
  bool response_begun = false;  // header_filter has begun, which it does once
  bool from_upstream = false;   // that response
  bool body_allowed = true;     // by status and method
  ResponseHead head;            // as header_filter leaves it
  Buffer held;                  // of its body, while header_filter is suspended
  bool held_end = false;        // and that it is complete
  HeaderList held_trailers;

  void OnChainResumed(ChainRun::Result result) override;
  void SetTimeLimit(MonoTime at) override;
  std::shared_ptr<SubRequestSender> sender() override;

 private:
  ProxyContext& context_;
  Exchange& exchange_;
  Timer timer_;
  bool timer_runs_ = false;
  std::optional<ResponseContext> response_;
};

// `fields` with names and values in `arena`, which outlives their owner.
void CopyFields(const HeaderList& fields, Arena& arena, HeaderList& to);

}  // namespace sluice
