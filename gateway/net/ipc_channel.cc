#include "gateway/net/ipc_channel.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <uv.h>

namespace sluice {
namespace {

struct FrameHeader {
  uint32_t type;
  uint32_t size;
};

// Messages read before the loop's other work gets its turn.
constexpr int kReadsPerTurn = 64;

struct Outgoing {
  uint32_t type;
  std::string payload;
  std::vector<UniqueFd> fds;
};

constexpr size_t kControlSize = CMSG_SPACE(IpcChannel::kMaxFds * sizeof(int));

// Returns 0, or errno.
int SendFrame(int socket, uint32_t type, std::string_view payload, std::span<const int> fds) {
  FrameHeader header{type, static_cast<uint32_t>(payload.size())};
  std::array<iovec, 2> pieces = {
      iovec{&header, sizeof(header)},
      iovec{const_cast<char*>(payload.data()), payload.size()}};  // sendmsg does not write to it
  alignas(cmsghdr) std::array<char, kControlSize> control{};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

std::vector<UniqueFd> TakeDescriptors(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

enum class Received : uint8_t { kMessage, kNothing, kEnd };

// Reads one frame. An error means that the peer broke the protocol, or that the socket failed.
Result<Received> ReceiveFrame(int socket, std::span<char> buffer, IpcMessage& result) {
  alignas(cmsghdr) std::array<char, kControlSize> control{};
  FrameHeader header{};
  std::array<iovec, 2> pieces = {iovec{&header, sizeof(header)},
                                 iovec{buffer.data(), buffer.size()}};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return Received::kNothing;
    if (errno == ECONNRESET) return Received::kEnd;  // the peer died with messages unread
    return SystemError("receive a message", errno);
  }
  if (count == 0) return Received::kEnd;
  result.fds = TakeDescriptors(message);
  const auto size = static_cast<size_t>(count);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return GatewayError(ErrorCode::kInternal, "a message is larger than " +
                                                  std::to_string(IpcChannel::kMaxPayload) +
                                                  " bytes or carries too many descriptors");
  }
  if (size < sizeof(header) || header.size != size - sizeof(header)) {
    return GatewayError(ErrorCode::kInternal,
                        "a message of " + std::to_string(size) + " bytes announces " +
                            std::to_string(header.size) + " bytes of payload");
  }
  result.type = header.type;
  result.payload.assign(buffer.data(), header.size);
  return Received::kMessage;
}

}  // namespace

struct IpcChannel::Handle {
  Handle(Loop& the_loop, UniqueFd the_fd, Observer& the_observer)
      : loop(the_loop), fd(std::move(the_fd)), observer(&the_observer), buffer(kMaxPayload) {}

  Loop& loop;
  uv_poll_t poll{};
  UniqueFd fd;
  Observer* observer;  // null: the owner is gone, or was told of the end
  std::deque<Outgoing> queue;
  std::vector<char> buffer;

  void Watch() {
    if (observer == nullptr) return;
    uv_poll_start(&poll, UV_READABLE | (queue.empty() ? 0 : UV_WRITABLE), OnPoll);
  }

  void End(Status why) {
    Observer* told = std::exchange(observer, nullptr);
    uv_poll_stop(&poll);
    if (told != nullptr) told->OnChannelClosed(std::move(why));
  }

  void Read() {
    for (int i = 0; i < kReadsPerTurn && observer != nullptr; ++i) {
      IpcMessage message;
      auto received = ReceiveFrame(fd.get(), buffer, message);
      if (!received.has_value()) return End(std::move(received).error());
      if (*received == Received::kNothing) return;
      if (*received == Received::kEnd) return End({});
      observer->OnMessage(std::move(message));
    }
  }

  void Write() {
    const bool had_queue = !queue.empty();
    while (!queue.empty()) {
      const Outgoing& next = queue.front();
      std::vector<int> fds;
      for (const UniqueFd& descriptor : next.fds) fds.push_back(descriptor.get());
      const int error = SendFrame(fd.get(), next.type, next.payload, fds);
      if (error == EAGAIN || error == EWOULDBLOCK) return;
      // A dead peer is noticed by reading, which also sees what it still had to say.
      queue.pop_front();
    }
    if (had_queue) Watch();
  }

  static void OnPoll(uv_poll_t* poll, int status, int events) {
    auto* handle = static_cast<Handle*>(poll->data);
    Loop& loop = handle->loop;
    // uv_close frees the handle in a later turn only, so it is safe to use until this returns.
    if ((events & UV_WRITABLE) != 0) handle->Write();
    if (status < 0 || (events & UV_READABLE) != 0) handle->Read();
    loop.FlushDirty();
  }
};

Result<std::pair<UniqueFd, UniqueFd>> IpcChannel::MakePair() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return SystemError("socketpair", errno);
  }
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

Result<std::unique_ptr<IpcChannel>> IpcChannel::Make(Loop& loop, UniqueFd fd, Observer& observer) {
  auto handle = std::make_unique<Handle>(loop, std::move(fd), observer);
  const int error = uv_poll_init(loop.raw(), &handle->poll, handle->fd.get());
  if (error != 0) {
    return GatewayError(ErrorCode::kIo, std::string("watch a channel: ") + uv_strerror(error));
  }
  handle->poll.data = handle.get();
  handle->Watch();
  return std::unique_ptr<IpcChannel>(new IpcChannel(handle.release()));
}

IpcChannel::~IpcChannel() {
  handle_->observer = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

Status IpcChannel::Send(uint32_t type, std::string_view payload, std::span<const int> fds) {
  if (payload.size() > kMaxPayload || fds.size() > kMaxFds) {
    return GatewayError(ErrorCode::kInternal, "a message of " + std::to_string(payload.size()) +
                                                  " bytes and " + std::to_string(fds.size()) +
                                                  " descriptors does not fit a frame");
  }
  if (handle_->queue.empty()) {
    const int error = SendFrame(handle_->fd.get(), type, payload, fds);
    if (error == 0) return {};
    if (error != EAGAIN && error != EWOULDBLOCK) return SystemError("send a message", error);
  }
  if (handle_->queue.size() >= kMaxQueued) {
    return GatewayError(ErrorCode::kInternal, std::to_string(kMaxQueued) +
                                                  " messages wait for a peer that does not read");
  }
  Outgoing waiting{type, std::string(payload), {}};
  for (const int fd : fds) {
    UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return SystemError("duplicate a descriptor", errno);
    waiting.fds.push_back(std::move(copy));
  }
  handle_->queue.push_back(std::move(waiting));
  handle_->Watch();
  return {};
}

bool IpcChannel::is_idle() const { return handle_->queue.empty(); }

}  // namespace sluice
