// The data path of one worker: its listeners, client connections and upstream pools. The process
// role around it (gateway/control/worker) hands it sockets and snapshots. Lives as long as the
// worker; used from the loop's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "conf/resources.h"
#include "gateway/base/result.h"
#include "gateway/net/loop.h"
#include "gateway/observe/access_log.h"
#include "gateway/observe/metric_slabs.h"
#include "gateway/proxy/endpoint_table.h"
#include "gateway/proxy/tls_resources.h"
#include "gateway/proxy/upstream_plan.h"
#include "gateway/snapshot/snapshot.h"
#include "gateway/snapshot/snapshot_series.h"

namespace sluice {

struct HostMemory;

class ProxyServer {
 public:
  static constexpr Duration kGoodbyeTime = milliseconds(500);

  struct Stats {
    uint64_t connections_active = 0;
    uint64_t connections_accepted = 0;
    uint64_t requests = 0;
  };

  // `worker_index` seeds what must differ between workers (balancer phase, request ids).
  ProxyServer(Loop& loop, uint32_t worker_index, HostMemory memory);
  ~ProxyServer();  // precondition: drained or CloseAll was called
  ProxyServer(const ProxyServer&) = delete;
  ProxyServer& operator=(const ProxyServer&) = delete;

  // Takes a listening descriptor over. Accepting starts when a snapshot has been adopted. What is
  // spoken there is what the snapshot says of `configured`, which differs from `bound` when it asks
  // for any free port.
  void AddListener(int fd, const SocketAddress& bound, const SocketAddress& configured);
  // Stops accepting on that bound address after accepting what is queued; connections live on.
  void RemoveListener(const SocketAddress& address);

  // What a revision is made of, all built off the loop's thread.
  struct Revision {
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const TlsResources> tls;
    std::shared_ptr<const UpstreamPlans> plans;
    std::shared_ptr<const SnapshotSeries> series;
  };
  // From now on new exchanges use `revision`. Between two loop turns, never blocks.
  void Adopt(Revision revision);

  void SetAccessLog(std::unique_ptr<AccessLog> log);  // null turns it off
  AccessLog* access_log();

  // Stops accepting, announces the close on every connection (Connection: close), closes idle ones,
  // and calls `done` once when the last exchange is over.
  void Drain(std::function<void()> done);
  // Ends every connection at once, but gives tunnels kGoodbyeTime for their last words.
  void CloseAll();

  Stats stats() const;

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace sluice
