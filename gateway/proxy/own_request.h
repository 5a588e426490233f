// A request that a plugin sends: an exchange whose client is the gateway itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "gateway/base/arena.h"
#include "gateway/http/message.h"
#include "gateway/plugin/sub_request.h"
#include "gateway/proxy/exchange_client.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {

class OwnRequest final : public ExchangeClient {
 public:
  // Lives in the context until it is over.
  static void Start(ProxyContext& context, std::shared_ptr<const ActiveSnapshot> active,
                    SubRequest request, SubResponseCallback done);
  ~OwnRequest();

  // Nobody wants its answer any more, which ends it soon.
  void Abandon(ErrorCode reason);

  // ExchangeClient
  void SendContinue() override {}
  void SendInformational(const ResponseHead&) override {}
  void SendResponseHead(const ResponseHead& head, std::string_view via) override;
  void SendResponseData(std::string_view bytes) override;
  void FinishResponse(const HeaderList&) override { complete_ = true; }
  void AbortResponse() override {}
  void BeginTunnel(const ResponseHead&) override {}
  void CloseAfterResponse() override {}
  void PauseRequestBody() override {}  // it is here already
  void ResumeRequestBody() override {}
  void OnExchangeDone() override;
  Stream* relay_sink() override { return nullptr; }
  bool is_serving(const Exchange& exchange) const override { return exchange_.get() == &exchange; }

 private:
  OwnRequest(ProxyContext& context, uint64_t number, SubRequest request, SubResponseCallback done);
  // Calls `action` with the request later, unless it is over then.
  static void Later(ProxyContext& context, uint64_t number,
                    std::function<void(OwnRequest& request)> action);
  void Begin(std::shared_ptr<const ActiveSnapshot> active);
  void End(Status status);

  ProxyContext& context_;
  const uint64_t number_;
  const SubRequest request_;
  SubResponseCallback done_;
  RequestHead head_;
  Arena arena_;
  std::unique_ptr<Exchange> exchange_;  // until it is done
  int status_ = 0;
  HeaderList fields_;
  std::string body_;
  bool too_large_ = false;
  bool complete_ = false;
};

// A sender for the plugins of a snapshot.
std::shared_ptr<SubRequestSender> MakeSender(ProxyContext& context,
                                             std::shared_ptr<const ActiveSnapshot> active);

}  // namespace sluice
