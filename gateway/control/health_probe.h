// One active check of one endpoint: connects, with TLS if asked for, sends a request and reads the
// head of the response, within one time limit for all of it. Belongs to a ProbeSet until its socket
// is closed. In the controller.
//
//   connecting ─▶ securing (https) ─▶ asking (http, https) ─▶ done ─▶ closed
//                      any failure, the time limit, Cancel: done
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "conf/checks.h"
#include "gateway/base/address.h"
#include "gateway/http/http1_codec.h"
#include "gateway/net/deadline.h"
#include "gateway/net/stream.h"
#include "gateway/net/tls_context.h"
#include "gateway/proxy/health.h"

namespace sluice {

// What the probes of an upstream have in common.
struct ProbePlan {
  conf::ActiveCheck check;
  std::shared_ptr<const TlsClientContext> tls;  // null: plain text
  std::string preface{};  // a PROXY header that the nodes expect; may be empty
};

struct ProbeResult {
  CheckResult result = CheckResult::kSuccess;
  int status = 0;        // of a response: the rules say what it means, not `result`
  std::string detail{};  // of a failure
};

class HealthProbe;

// The probes of a process that have a socket.
struct ProbeSet {
  explicit ProbeSet(Loop& event_loop) : loop(event_loop) {}

  Loop& loop;
  std::map<const HealthProbe*, std::unique_ptr<HealthProbe>> open{};
};

class HealthProbe final : public StreamObserver, public Deadline::Observer {
 public:
  using Done = std::function<void(const ProbeResult&)>;

  // `host`: of the request, with the port, and of the certificate, without it. `done` is called
  // once, later, unless the probe is cancelled.
  static HealthProbe& Start(std::shared_ptr<ProbeSet> set, std::shared_ptr<const ProbePlan> plan,
                            const SocketAddress& address, std::string host, Done done);
  void Cancel();

  // StreamObserver
  void OnConnected(Status status) override;
  void OnSecured(Status status) override;
  void OnRead(std::string_view bytes) override;
  void OnEof() override;
  void OnStreamError(int error_number) override;
  void OnBlocked() override {}
  void OnWritable() override {}
  void OnClosed() override;

  void OnDeadline() override;

 private:
  HealthProbe(std::shared_ptr<ProbeSet> set, std::shared_ptr<const ProbePlan> plan,
              std::string host, Done done);

  void Ask();
  void Fail(CheckResult result, std::string detail);
  void Finish(const ProbeResult& result);

  std::shared_ptr<ProbeSet> set_;
  const std::shared_ptr<const ProbePlan> plan_;
  const std::string host_;
  std::string request_;
  Done done_;
  Stream stream_;
  Deadline deadline_;
  Http1Decoder decoder_;
};

// The request of a probe.
std::string WriteProbe(const conf::ActiveCheck& check, std::string_view host);

}  // namespace sluice
