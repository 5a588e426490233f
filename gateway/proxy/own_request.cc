#include "gateway/proxy/own_request.h"

#include <utility>

#include "gateway/proxy/error_reply.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/exchange_plugins.h"

namespace sluice {
namespace {

class Sender final : public SubRequestSender {
 public:
  Sender(ProxyContext& context, std::shared_ptr<const ActiveSnapshot> active)
      : context_(context), active_(std::move(active)) {}

  void Send(SubRequest request, SubResponseCallback done) override {
    OwnRequest::Start(context_, active_, std::move(request), std::move(done));
  }

 private:
  ProxyContext& context_;
  const std::shared_ptr<const ActiveSnapshot> active_;
};

}  // namespace

std::shared_ptr<SubRequestSender> MakeSender(ProxyContext& context,
                                             std::shared_ptr<const ActiveSnapshot> active) {
  return std::make_shared<Sender>(context, std::move(active));
}

OwnRequest::OwnRequest(ProxyContext& context, uint64_t number, SubRequest request,
                       SubResponseCallback done)
    : ExchangeClient(nullptr),
      context_(context),
      number_(number),
      request_(std::move(request)),
      done_(std::move(done)) {}

OwnRequest::~OwnRequest() = default;

void OwnRequest::Start(ProxyContext& context, std::shared_ptr<const ActiveSnapshot> active,
                       SubRequest request, SubResponseCallback done) {
  const uint64_t number = ++context.own_requests_started;
  if (!request.detached) ++context.own_requests_awaited;
  context.own_requests.emplace(number, std::unique_ptr<OwnRequest>(new OwnRequest(
                                           context, number, std::move(request), std::move(done))));
  // Later, so that no callback comes from inside Send.
  Later(context, number, [active = std::move(active)](OwnRequest& own) { own.Begin(active); });
}

void OwnRequest::Later(ProxyContext& context, uint64_t number,
                       std::function<void(OwnRequest& request)> action) {
  context.loop.Post([&context, number, action = std::move(action)] {
    const auto found = context.own_requests.find(number);
    if (found != context.own_requests.end()) action(*found->second);
  });
}

void OwnRequest::Begin(std::shared_ptr<const ActiveSnapshot> active) {
  if (request_.upstream < 0) {
    return End(GatewayError(ErrorCode::kNoUpstream, "the plugin named no upstream"));
  }
  const std::string_view target = request_.target;
  const size_t question = target.find('?');
  head_.method_text = request_.method;
  head_.method = FindMethod(request_.method);
  head_.target = target;
  head_.authority = request_.host;
  head_.path = target.substr(0, question);
  head_.has_query = question != std::string_view::npos;
  if (head_.has_query) head_.query = target.substr(question + 1);
  for (const auto& [name, value] : request_.fields) {
    // Not the client's word: fields that clients may not set are this plugin's.
    HeaderField field{name, CopyFieldValue(value, arena_), FindHeaderId(name)};
    field.by_plugin = true;
    head_.fields.Add(field);
  }
  if (!request_.body.empty()) head_.body = {BodyFraming::Kind::kLength, request_.body.size()};
  exchange_ = context_.TakeExchange();
  exchange_->BeginOwn(*this, head_, std::move(active), static_cast<size_t>(request_.upstream),
                      request_.limit);
  if (exchange_ != nullptr && !request_.body.empty()) exchange_->OnRequestData(request_.body);
  static const HeaderList kNoTrailers;
  if (exchange_ != nullptr) exchange_->OnRequestEnd(kNoTrailers);
}

void OwnRequest::Abandon(ErrorCode reason) {
  if (exchange_ != nullptr) exchange_->OnClientGone(reason);
}

void OwnRequest::SendResponseHead(const ResponseHead& head, std::string_view /*via*/) {
  status_ = head.status;
  CopyFields(head.fields, arena_, fields_);
}

void OwnRequest::SendResponseData(std::string_view bytes) {
  if (too_large_ || request_.detached) return;
  if (body_.size() + bytes.size() <= request_.most_body) {
    body_.append(bytes);
    return;
  }
  too_large_ = true;
  // Not from inside the exchange's own callback.
  Later(context_, number_, [](OwnRequest& own) { own.Abandon(ErrorCode::kBodyTooLarge); });
}

void OwnRequest::OnExchangeDone() {
  const ErrorCode reason = exchange_->reason();
  context_.GiveExchange(std::move(exchange_));
  if (too_large_) {
    return End(UpstreamError(
        ErrorCode::kInvalidResponse, Retry::kNever,
        "expected a response of at most " + std::to_string(request_.most_body) + " bytes"));
  }
  if (reason != ErrorCode::kNone || !complete_) {
    return End(UpstreamError(reason, Retry::kNever, std::string(ReasonName(reason))));
  }
  End({});
}

void OwnRequest::End(Status status) {
  const SubResponseCallback done = std::exchange(done_, nullptr);
  if (status.has_value()) {
    done(SubResponse{status_, fields_, body_});
  } else {
    done(std::move(status).error());
  }
  Later(context_, number_, [](OwnRequest& own) {
    ProxyContext& context = own.context_;
    if (!own.request_.detached) --context.own_requests_awaited;
    context.own_requests.erase(own.number_);
    if (context.plugin_services.is_ending()) context.on_connection_closed();
  });
}

}  // namespace sluice
