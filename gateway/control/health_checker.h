// Active checks: asks every endpoint of upstreams with `checks` whether it works, once for the host
// and not for each worker, and counts the answers in the endpoint's shared record, where the
// workers see them. Owned by the controller. When that dies the last findings stay, and its
// successor goes on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "conf/resources.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/control/checked_upstream.h"
#include "gateway/net/loop.h"
#include "gateway/net/resolver.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/tls_resources.h"

namespace sluice {

class HealthChecker {
 public:
  // Probes at one time, of all upstreams together; the others wait for their turn.
  static constexpr size_t kMostProbes = 256;

  HealthChecker(Loop& loop, std::shared_ptr<EndpointTable> table);
  // The probes under way are cancelled. The loop outlives it.
  ~HealthChecker() = default;
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  // What is the same in a new configuration goes on undisturbed. `tls` may be null when no check
  // is of type https.
  void Adopt(const conf::Config& config, const TlsResources* tls);

  // For the upstreams.
  Loop& loop() const { return loop_; }
  const std::shared_ptr<EndpointTable>& table() const { return table_; }
  const std::shared_ptr<ProbeSet>& probes() const { return probes_; }
  Resolver* resolver(const conf::UpstreamConfig& config);  // null: no node is a name, or none works
  double Random();                                         // from 0 to 1
  void OnDue(CheckedUpstream& upstream);                   // it may have work
  void OnProbeDone(CheckedUpstream& upstream);             // its place is free, and given away
  void OnProbeCancelled() { --running_; }                  // its place is free

 private:
  void StartProbes();

  Loop& loop_;
  const std::shared_ptr<EndpointTable> table_;
  const std::shared_ptr<ProbeSet> probes_;
  std::unique_ptr<Resolver> resolver_;  // made when the first node is a name
  std::minstd_rand random_;
  size_t running_ = 0;
  IntrusiveList<CheckedUpstream> ready_;  // that have work, in the order of their turns
  std::map<std::string, std::unique_ptr<CheckedUpstream>, std::less<>> upstreams_;
};

// Does a check of this configuration need TlsResources?
bool HasHttpsChecks(const conf::Config& config);

}  // namespace sluice
