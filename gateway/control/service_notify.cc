#include "gateway/control/service_notify.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

#include "gateway/base/log.h"
#include "gateway/base/text.h"

namespace sluice {
namespace {

std::string TakeEnvironment(const char* name) {
  const char* value = getenv(name);
  std::string text = value == nullptr ? "" : value;
  unsetenv(name);
  return text;
}

// A status is one line of the protocol.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

}  // namespace

ServiceNotifier::ServiceNotifier() : path_(TakeEnvironment("NOTIFY_SOCKET")) {
  const auto interval = ParseDecimal(TakeEnvironment("WATCHDOG_USEC"));
  const std::string watched = TakeEnvironment("WATCHDOG_PID");
  if (path_.empty()) return;
  if (path_.size() < 2 || (path_[0] != '/' && path_[0] != '@') ||
      path_.size() >= sizeof(sockaddr_un::sun_path)) {
    Log(LogLevel::kWarn, "NOTIFY_SOCKET is neither a path nor an abstract name: ignored",
        {{"value", path_}});
    path_.clear();
    return;
  }
  socket_.Reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (interval && *interval > 0 && *interval < uint64_t{1} << 50 &&
      (watched.empty() || watched == std::to_string(getpid()))) {
    // Twice as often as asked for, as sd_watchdog_enabled(3) recommends.
    watchdog_interval_ = microseconds(static_cast<int64_t>(*interval / 2));
  }
}

void ServiceNotifier::Ready(std::string_view status) {
  Send("READY=1\nSTATUS=" + OneLine(status) + "\nMAINPID=" + std::to_string(getpid()));
}

void ServiceNotifier::Reloading() {
  const auto now = std::chrono::duration_cast<microseconds>(MonoNow().time_since_epoch());
  Send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.count()) + "\nSTATUS=reloading");
}

void ServiceNotifier::Stopping() { Send("STOPPING=1\nSTATUS=draining"); }

void ServiceNotifier::Status(std::string_view status) { Send("STATUS=" + OneLine(status)); }

void ServiceNotifier::Watchdog() { Send("WATCHDOG=1"); }

void ServiceNotifier::Send(std::string_view state) const {
  if (path_.empty() || !socket_) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  // An abstract name has a length and no end; a path may have both.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
  const ssize_t sent = sendto(socket_.get(), state.data(), state.size(), MSG_NOSIGNAL,
                              reinterpret_cast<const sockaddr*>(&address), size);
  if (sent < 0) {
    Log(LogLevel::kWarn, "the service manager cannot be told", {{"error", strerror(errno)}});
  }
}

}  // namespace sluice
