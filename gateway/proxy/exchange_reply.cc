// The part of Exchange that speaks for the gateway itself: replies, and the log of how it ended.
#include <utility>

#include "gateway/base/log.h"
#include "gateway/base/ticks.h"
#include "gateway/proxy/client_connection.h"
#include "gateway/proxy/error_reply.h"
#include "gateway/proxy/exchange.h"
#include "gateway/proxy/exchange_client.h"
#include "gateway/proxy/exchange_plugins.h"
#include "gateway/proxy/grpc.h"

namespace sluice {
namespace {

// What no route can refuse.
constexpr std::string_view kAllowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

}  // namespace

// The sender wants to hear from whoever is the last in the way (RFC 9110 7.6.2): that is us.
void Exchange::AnswerOptions() {
  ResponseHead head;
  head.status = 200;
  head.body = {BodyFraming::Kind::kLength, 0};
  head.fields.Add("Server", "sluice");
  head.fields.Add("Allow", kAllowed);
  Respond(head, {}, ErrorCode::kNone);
}

void Exchange::LogRefusal(const Error& error) const {
  // What sheds load must not make as much in the log; a breaker's changes are there.
  // Who asked for a request of ours says what came of it.
  const bool quiet = is_own_ || error.side == ErrorSide::kClient ||
                     error.code == ErrorCode::kCircuitOpen ||
                     error.code == ErrorCode::kUpstreamOverflow;
  const LogLevel level = quiet ? LogLevel::kDebug : LogLevel::kWarn;
  Log(level, "request refused",
      {{"reason", ReasonName(error.code)}, {"detail", error.detail}, {"path", view_.path}});
}

void Exchange::Reply(const Error& error) {
  call_.End();
  if (has_plugins_) plugins_->run.CancelSuspension();
  suspended_ = false;
  LogRefusal(error);
  const int status = StatusOf(error.code);
  if (ClosesConnection(error.code) || tunnel_.is_asked()) client_->CloseAfterResponse();
  if (IsGrpc(*view_.head)) return ReplyInGrpc(error.code, status, ReasonName(error.code));
  Arena& scratch = context_.loop.scratch();
  const std::string_view body = scratch.Copy(ErrorBody(error.code));
  ResponseHead head;
  head.status = status;
  head.body = {BodyFraming::Kind::kLength, body.size()};
  head.fields.Add("Server", "sluice");
  head.fields.Add("Content-Type", "application/json");
  if (status == 405) head.fields.Add("Allow", kAllowed);
  const std::string wait = RetryAfter(call_.retry_after());
  if (status == 503) head.fields.Add("Retry-After", scratch.Copy(wait));
  Respond(head, body, error.code);
}

// The status is HTTP's 200 for a gRPC client; what happened is in the fields.
void Exchange::ReplyInGrpc(ErrorCode reason, int status, std::string_view text) {
  Arena& scratch = context_.loop.scratch();
  const std::string code = std::to_string(GrpcStatusOf(status));
  const std::string message = GrpcMessage(text);
  ResponseHead head;
  head.status = 200;
  head.fields.Add("Server", "sluice");
  head.fields.Add("Content-Type", "application/grpc");
  head.fields.Add("grpc-status", scratch.Copy(code));
  head.fields.Add("grpc-message", scratch.Copy(message));
  Respond(head, {}, reason);
}

void Exchange::RefuseBody(uint64_t limit) {
  Reply(ClientError(ErrorCode::kBodyTooLarge,
                    "expected a body of at most " + std::to_string(limit) + " bytes"));
}

void Exchange::Finish(ErrorCode reason) {
  if (state_ == State::kDone || state_ == State::kIdle) return;
  if (state_ == State::kTunnel) context_.counters.present.tunnels.Subtract();
  state_ = State::kDone;
  deadline_.Cancel();
  reason_ = reason;
  const uint64_t now = ReadTicks();
  Count(now);
  const bool plugins_log = has_plugins_ && plugins_->run.logs();
  if (!is_own_ && (context_.access_log != nullptr || plugins_log)) WriteAccessRecord(now);
  if (std::exchange(has_plugins_, false)) plugins_->End();
  ExchangeClient* client = std::exchange(client_, nullptr);
  client->OnExchangeDone();  // may recycle this exchange: nothing may follow
}

void Exchange::Count(uint64_t now) {
  ProcessCounters& counters = context_.counters;
  counters.upstream_attempts.Add(call_.attempts());
  if (is_own_) return counters.own_requests.Add();
  counters.present.exchanges.Subtract();
  counters.ends[static_cast<size_t>(reason_)].Add();
  const SnapshotSeries& series = *active_->series;
  Traffic<Tally>& traffic = route_ == nullptr
                                ? series.all_others()
                                : series.traffic(active_->snapshot->IndexOf(*route_), view_);
  traffic.bytes_received.Add(client_->request_bytes_in());
  traffic.bytes_sent.Add(client_->response_bytes_out());
  traffic.statuses[StatusSlot(status_)].Add();
  if (status_ == 101) return;
  const TickScale& scale = context_.tick_scale;
  const Duration total = scale.Between(started_, now);
  traffic.request.Count(total);
  if (call_.attempts() == 0) return traffic.overhead.Count(total);
  const Duration upstream = scale.Between(called_, now);
  traffic.upstream.Count(upstream);
  traffic.overhead.Count(total - upstream);
}

void Exchange::WriteAccessRecord(uint64_t now) {
  if (has_plugins_) plugins_->run.HideSecrets();
  const Endpoint* endpoint = call_.endpoint();
  const bool answered = upstream_status_ != 0;
  AccessRecord record;
  record.request = &view_;
  record.status = status_;
  record.reason = reason_;
  record.bytes_in = client_->request_bytes_in();
  record.bytes_out = client_->response_bytes_out();
  record.body_bytes_out = body_bytes_out_;
  if (route_ != nullptr) record.route_id = route_->id;
  if (upstream_ != nullptr) record.upstream_key = upstream_->key;
  if (endpoint != nullptr) record.node = endpoint->name;
  record.upstream_status = upstream_status_;
  record.attempts = call_.attempts();
  record.request_number = client_->request_number();
  record.connection_id = client_->connection()->id();
  record.id_high = id_.high;
  record.id_low = id_.low;
  const TickScale& scale = context_.tick_scale;
  record.total = scale.Between(started_, now);
  record.connect = call_.connect_time();
  if (answered) record.ttfb = scale.Between(called_, head_received_);
  if (call_.attempts() > 0) record.upstream = scale.Between(called_, now);
  if (has_plugins_) plugins_->run.RunLog(record);
  if (context_.access_log != nullptr) context_.access_log->Write(record, WallNow());
}

}  // namespace sluice
