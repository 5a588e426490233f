// Tells a service manager (systemd) how we are: the datagram protocol of sd_notify(3), without its
// library. Owned by master. Does nothing when NOTIFY_SOCKET is not set.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gateway/base/time.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

class ServiceNotifier {
 public:
  // Reads and clears NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, so that no child inherits them.
  ServiceNotifier();

  void Ready(std::string_view status);  // also ends Reloading
  void Reloading();
  void Stopping();
  void Status(std::string_view status);
  void Watchdog();

  // How often Watchdog must be called; none when nobody waits for it.
  std::optional<Duration> watchdog_interval() const { return watchdog_interval_; }

 private:
  void Send(std::string_view state) const;

  std::string path_;  // '@' first: an abstract one
  UniqueFd socket_;
  std::optional<Duration> watchdog_interval_;
};

}  // namespace sluice
