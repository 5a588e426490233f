// The listening sockets of one address: one SO_REUSEPORT socket for each worker slot (TCP), or one
// that all share (UNIX). Made and kept by master, so that a worker's death loses no queued
// connection; workers hold duplicates.
#pragma once

#include <string>
#include <vector>

#include "gateway/base/address.h"
#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"
#include "gateway/control/process_settings.h"

namespace sluice {

class ListenerSockets {
 public:
  // `shared_port` says that a socket of ours may hold the port already (another address of it);
  // otherwise a port that anybody listens on is an error, although SO_REUSEPORT would allow it.
  static Result<ListenerSockets> Make(const ListenSettings& settings, int slots, bool shared_port);

  const ListenSettings& settings() const { return settings_; }
  // The address that is bound; differs from the settings when they ask for port 0.
  const SocketAddress& bound() const { return bound_; }

  bool is_open() const { return !slots_.empty(); }
  int fd(int slot) const;  // -1 when closed
  // While a worker is kept from starting, its share of new connections should go to the others.
  void CloseSlot(int slot);
  Status ReopenSlot(int slot);
  Status SetBacklog(int backlog);
  // Closes all, and removes the name of a UNIX socket.
  void Remove();

 private:
  ListenSettings settings_;
  SocketAddress bound_;
  std::vector<UniqueFd> slots_;  // one for UNIX
};

// A UNIX socket that listens at `path` with these permissions. A socket file that nobody listens on
// is replaced.
Result<UniqueFd> ListenOnPath(const SocketAddress& address, int backlog, mode_t mode);

}  // namespace sluice
