// An upstream with active checks: its endpoints, each with the time of its next probe, and those
// whose probe is due but has no place yet. Owned by the HealthChecker. In the controller.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/control/health_probe.h"
#include "gateway/net/deadline.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/resolved_nodes.h"

namespace sluice {

class HealthChecker;

class CheckedUpstream final : public ListNode<CheckedUpstream> {
 public:
  CheckedUpstream(HealthChecker& checker, std::string key);
  ~CheckedUpstream();  // cancels its probes

  // Takes a configuration over, in which the upstream has checks. Endpoints that stay keep their
  // health and their place in time. `tls` may be null unless the check is of type https.
  void Update(const conf::UpstreamConfig& config, std::shared_ptr<const TlsClientContext> tls);
  // It is not checked any more: what was found out is forgotten.
  void Forget();

  // A probe is due, and may begin as far as this upstream is concerned.
  bool has_work() const;
  void StartOne();  // precondition: has_work

 private:
  class Target;

  void Rebuild();
  void OnDue(Target& target);

  HealthChecker& checker_;
  const std::string key_;
  std::shared_ptr<const ProbePlan> plan_;
  std::string host_;  // of the requests to all nodes; empty: the node's
  ResolvedNodes nodes_;
  std::vector<std::unique_ptr<Target>> targets_;
  IntrusiveList<Target> due_;
  uint32_t running_ = 0;
};

}  // namespace sluice
