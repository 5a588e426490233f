#include "gateway/control/health_probe.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/http/message.h"

namespace sluice {
namespace {

const CodecLimits kLimits{.head = 16 * 1024};

// Whose certificate is expected: the host without the port, and without the brackets of IPv6.
std::string TlsName(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  return ToLower(host.substr(0, host.find(':')));
}

}  // namespace

std::string WriteProbe(const conf::ActiveCheck& check, std::string_view host) {
  std::string text = check.method + " " + check.path + " HTTP/1.1\r\nHost: ";
  text.append(host).append("\r\nConnection: close\r\n");
  for (const std::string& field : check.headers) text.append(field).append("\r\n");
  const bool may_have_body = check.method != "GET" && check.method != "HEAD";
  if (may_have_body || !check.body.empty()) {
    text.append("Content-Length: ");
    AppendDecimal(text, check.body.size());
    text.append("\r\n");
  }
  return text.append("\r\n").append(check.body);
}

HealthProbe::HealthProbe(std::shared_ptr<ProbeSet> set, std::shared_ptr<const ProbePlan> plan,
                         std::string host, Done done)
    : set_(std::move(set)),
      plan_(std::move(plan)),
      host_(std::move(host)),
      done_(std::move(done)),
      stream_(set_->loop, *this),
      deadline_(set_->loop.deadlines(), *this),
      decoder_(Http1Decoder::Role::kClient, kLimits) {}

HealthProbe& HealthProbe::Start(std::shared_ptr<ProbeSet> set,
                                std::shared_ptr<const ProbePlan> plan, const SocketAddress& address,
                                std::string host, Done done) {
  ProbeSet& owner = *set;
  std::unique_ptr<HealthProbe> made(
      new HealthProbe(std::move(set), std::move(plan), std::move(host), std::move(done)));
  HealthProbe& probe = *made;
  owner.open.emplace(&probe, std::move(made));
  probe.deadline_.Set(owner.loop.now() + probe.plan_->check.timeout);
  probe.stream_.Connect(address);
  return probe;
}

void HealthProbe::Cancel() {
  done_ = nullptr;
  deadline_.Cancel();
  stream_.Close();
}

void HealthProbe::OnConnected(Status status) {
  if (!status.has_value()) return Fail(CheckResult::kTcpFailure, status.error().detail);
  if (plan_->check.type == conf::CheckType::kTcp) return Finish({});
  stream_.Send(plan_->preface);
  if (plan_->check.type == conf::CheckType::kHttp) return Ask();
  auto session = TlsSession::Connect(plan_->tls, TlsName(host_), nullptr);
  if (!session.has_value()) return Fail(CheckResult::kTcpFailure, session.error().detail);
  stream_.StartTls(std::move(*session));
}

void HealthProbe::OnSecured(Status status) {
  if (!status.has_value()) return Fail(CheckResult::kTcpFailure, status.error().detail);
  Ask();
}

void HealthProbe::Ask() {
  decoder_.StartMessage(FindMethod(plan_->check.method));
  request_ = WriteProbe(plan_->check, host_);
  stream_.Send(request_);
}

void HealthProbe::OnRead(std::string_view bytes) {
  while (done_) {
    switch (decoder_.Next(bytes)) {
      case CodecEvent::kHead:
        if (const int status = decoder_.response().status; status >= 200) {
          return Finish({.status = status});
        }
        break;
      case CodecEvent::kEnd:  // of an informational response
        decoder_.StartMessage(FindMethod(plan_->check.method));
        break;
      case CodecEvent::kError:
        return Fail(CheckResult::kHttpFailure, decoder_.error().detail);
      default:
        return;
    }
  }
}

void HealthProbe::OnEof() { Fail(CheckResult::kTcpFailure, "closed before the response"); }

void HealthProbe::OnStreamError(int error_number) {
  const bool broken = error_number == EPROTO && stream_.tls() != nullptr;
  Fail(CheckResult::kTcpFailure,
       broken ? stream_.tls()->error().detail : std::string(std::strerror(error_number)));
}

void HealthProbe::OnDeadline() { Fail(CheckResult::kTimeout, "no answer in time"); }

void HealthProbe::Fail(CheckResult result, std::string detail) {
  Finish({.result = result, .detail = std::move(detail)});
}

void HealthProbe::Finish(const ProbeResult& result) {
  const Done done = std::exchange(done_, nullptr);
  deadline_.Cancel();
  if (result.status > 0) stream_.SendTlsEnd();
  stream_.Close();
  if (done) done(result);
}

void HealthProbe::OnClosed() {
  // The map may hold the last reference to the set, through this probe.
  const std::shared_ptr<ProbeSet> set = set_;
  set->open.erase(this);
}

}  // namespace sluice
