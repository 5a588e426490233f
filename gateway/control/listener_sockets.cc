#include "gateway/control/listener_sockets.h"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace sluice {
namespace {

constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

Status SetOption(int fd, int level, int option, const char* name) {
  const int on = 1;
  if (setsockopt(fd, level, option, &on, sizeof(on)) != 0) return SystemError(name, errno);
  return {};
}

Result<UniqueFd> BindTcp(const SocketAddress& address, bool reuse_port) {
  UniqueFd fd(socket(address.family(), kType, 0));
  if (!fd) return SystemError("listen " + address.ToString() + ": socket", errno);
  SLUICE_TRY(SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  if (reuse_port) SLUICE_TRY(SetOption(fd.get(), SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT"));
  if (address.family() == AF_INET6) {
    SLUICE_TRY(SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY"));
  }
  // Accepted sockets inherit it: one system call less for each connection.
  SLUICE_TRY(SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"));
  if (bind(fd.get(), address.raw(), address.raw_size()) != 0) {
    return SystemError("listen " + address.ToString() + ": bind", errno);
  }
  return fd;
}

Result<UniqueFd> ListenTcp(const SocketAddress& address, int backlog) {
  SLUICE_ASSIGN_OR_RETURN(UniqueFd fd, BindTcp(address, true));
  if (listen(fd.get(), backlog) != 0) {
    return SystemError("listen " + address.ToString() + ": listen", errno);
  }
  return fd;
}

Result<SocketAddress> BoundAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return SystemError("getsockname", errno);
  }
  return SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&storage), size);
}

// Makes way for a new socket file: only for a socket, and only when nobody listens on it.
Status RemoveStale(const SocketAddress& address) {
  const std::string path(address.path());
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return SystemError("listen " + address.ToString(), errno);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return GatewayError(ErrorCode::kIo,
                        "listen " + address.ToString() + ": there is a file that is not a socket");
  }
  const UniqueFd probe(socket(AF_UNIX, kType, 0));
  if (!probe) return SystemError("socket", errno);
  // EAGAIN: somebody listens and is busy.
  if (connect(probe.get(), address.raw(), address.raw_size()) == 0 || errno == EAGAIN) {
    return SystemError("listen " + address.ToString(), EADDRINUSE);
  }
  if (errno != ECONNREFUSED) return SystemError("listen " + address.ToString(), errno);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError("remove " + path, errno);
  return {};
}

}  // namespace

Result<UniqueFd> ListenOnPath(const SocketAddress& address, int backlog, mode_t mode) {
  SLUICE_TRY(RemoveStale(address));
  UniqueFd fd(socket(AF_UNIX, kType, 0));
  if (!fd) return SystemError("socket", errno);
  if (bind(fd.get(), address.raw(), address.raw_size()) != 0) {
    return SystemError("listen " + address.ToString() + ": bind", errno);
  }
  const std::string path(address.path());
  if (chmod(path.c_str(), mode) != 0) return SystemError("chmod " + path, errno);
  if (listen(fd.get(), backlog) != 0) {
    return SystemError("listen " + address.ToString() + ": listen", errno);
  }
  return fd;
}

Result<ListenerSockets> ListenerSockets::Make(const ListenSettings& settings, int slots,
                                              bool shared_port) {
  SLUICE_ASSIGN_OR_RETURN(const SocketAddress address, SocketAddress::Make(settings.address));
  ListenerSockets sockets;
  sockets.settings_ = settings;
  sockets.bound_ = address;
  if (address.is_unix()) {
    SLUICE_ASSIGN_OR_RETURN(UniqueFd fd, ListenOnPath(address, settings.backlog, 0666));
    sockets.slots_.push_back(std::move(fd));
    return sockets;
  }
  if (address.port() != 0 && !shared_port) {
    // Without SO_REUSEPORT the kernel says whether somebody has the port.
    SLUICE_ASSIGN_OR_RETURN(const UniqueFd probe, BindTcp(address, false));
  }
  for (int i = 0; i < slots; ++i) {
    SLUICE_ASSIGN_OR_RETURN(UniqueFd fd, ListenTcp(sockets.bound_, settings.backlog));
    if (i == 0) {
      SLUICE_ASSIGN_OR_RETURN(sockets.bound_, BoundAddress(fd.get()));
    }
    sockets.slots_.push_back(std::move(fd));
  }
  return sockets;
}

int ListenerSockets::fd(int slot) const {
  return slots_[bound_.is_unix() ? 0 : static_cast<size_t>(slot)].get();
}

void ListenerSockets::CloseSlot(int slot) {
  if (!bound_.is_unix()) slots_[static_cast<size_t>(slot)].Reset();
}

Status ListenerSockets::ReopenSlot(int slot) {
  if (fd(slot) >= 0) return {};
  SLUICE_ASSIGN_OR_RETURN(UniqueFd opened, ListenTcp(bound_, settings_.backlog));
  slots_[static_cast<size_t>(slot)] = std::move(opened);
  return {};
}

Status ListenerSockets::SetBacklog(int backlog) {
  settings_.backlog = backlog;
  for (const UniqueFd& fd : slots_) {
    if (fd && listen(fd.get(), backlog) != 0) return SystemError("listen", errno);
  }
  return {};
}

void ListenerSockets::Remove() {
  if (slots_.empty()) return;
  slots_.clear();
  if (bound_.is_unix()) unlink(std::string(bound_.path()).c_str());
}

}  // namespace sluice
