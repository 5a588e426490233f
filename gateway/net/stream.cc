#include "gateway/net/stream.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sluice {
namespace {

// What one read may take: small until a peer shows that it has more, so that a slow reader on the
// other side of an exchange cannot make us hold a large remainder.
constexpr uint32_t kFirstReadSize = 64 * 1024;
constexpr uint32_t kFullReadSize = 128 * 1024;
// What one splice may take.
constexpr uint64_t kRelaySize = 1024 * 1024;

// Reads of one stream in one turn, so that a fast peer does not starve the others.
constexpr int kReadsPerTurn = 8;

// Output up to this size may wait for the end of the turn.
constexpr size_t kKeepLimit = 4096;

constexpr uint32_t kEndEvents = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

// libc's own wrappers are cancellation points, which costs two atomic operations a call in a
// process with threads.
ssize_t Receive(int fd, void* data, size_t size) {
  return syscall(SYS_recvfrom, fd, data, size, 0, nullptr, nullptr);
}

constexpr int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;

}  // namespace

ptrdiff_t Stream::SendPiece(int fd, const void* data, size_t size) {
  return syscall(SYS_sendto, fd, data, size, kSendFlags, nullptr, 0);
}

ptrdiff_t Stream::SendPieces(int fd, LentPieces& lent) {
  if (lent.count == 1) return SendPiece(fd, lent.pieces[0].iov_base, lent.pieces[0].iov_len);
  msghdr message{};
  message.msg_iov = lent.pieces.data();
  message.msg_iovlen = lent.count;
  return syscall(SYS_sendmsg, fd, &message, kSendFlags);
}

Stream::Stream(Loop& loop, StreamObserver& observer)
    : loop_(loop), observer_(observer), read_size_(kFirstReadSize) {}

Stream::~Stream() { SLUICE_CHECK(state_ == State::kIdle || state_ == State::kClosed); }

Status Stream::Open(int fd, State state) {
  fd_.Reset(fd);
  state_ = state;
  reading_ = true;
  return loop_.Watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, *this);
}

Status Stream::Accept(int fd) {
  Status status = Open(fd, State::kOpen);
  if (!status.has_value()) Close();
  return status;
}

void Stream::Connect(const SocketAddress& address) {
  state_ = State::kConnecting;
  connect_error_ = BeginConnect(address);
  // The owner expects the answer later, as always. A socket that connects at once is ready to
  // write, which the loop will tell.
  if (connect_error_ != 0) loop_.readable_.PushBack(*this);
}

int Stream::BeginConnect(const SocketAddress& address) {
  UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  const int on = 1;
  if (!address.is_unix()) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const int result = connect(fd.get(), address.raw(), address.raw_size());
  if (result != 0 && errno != EINPROGRESS) return errno;
  return Open(fd.Release(), State::kConnecting).has_value() ? 0 : ENOMEM;
}

void Stream::OnReady(uint32_t events) {
  if (state_ == State::kConnecting) {
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    OnConnectDone(error);
  }
  if (state_ != State::kOpen) return;
  if ((events & (EPOLLIN | kEndEvents)) != 0) readable_ = true;
  if ((events & kEndEvents) != 0) ended_ = true;
  if (!waiting_.empty() && (events & (EPOLLOUT | EPOLLERR)) != 0) {
    SendWaiting();
    loop_.KeepSmall();
  }
  ReadMore();
}

void Stream::OnConnectDone(int error_number) {
  if (state_ != State::kConnecting) return;  // closed meanwhile
  if (error_number != 0) {
    observer_.OnConnected(SystemError("connect", error_number));
  } else {
    state_ = State::kOpen;
    observer_.OnConnected({});
    if (state_ == State::kOpen && !waiting_.empty()) SendWaiting();
  }
  loop_.KeepSmall();
}

void Stream::PauseReading() {
  if (!reading_ || state_ != State::kOpen) return;
  reading_ = false;
  slow_reader_ = true;
  read_size_ = kFirstReadSize;
}

void Stream::ResumeReading() {
  if (reading_ || state_ != State::kOpen) return;
  reading_ = true;
  if (readable_) loop_.readable_.PushBack(*this);
}

void Stream::ReadMore() {
  if (state_ == State::kConnecting) return OnConnectDone(connect_error_);
  if (send_error_ != 0 && state_ == State::kOpen) {
    observer_.OnStreamError(std::exchange(send_error_, 0));
    return loop_.KeepSmall();
  }
  if (QueueHandshake()) return;
  for (int i = 0; i < kReadsPerTurn; ++i) {
    if (!readable_ || !reading_ || state_ != State::kOpen) return;
    CanRelay() ? Relay() : Read();
    loop_.KeepSmall();
  }
  if (readable_ && reading_ && state_ == State::kOpen) loop_.readable_.PushBack(*this);
}

void Stream::Read() {
  if (tls_ != nullptr && tls_->peer_ended()) return OnTlsEnd();
  const std::span<char> memory = loop_.receive_buffer();
  const size_t size = std::min<size_t>(read_size_, memory.size());
  const ssize_t count = Receive(fd(), memory.data(), size);
  if (count <= 0) return OnReadFailed(count);
  const auto received = static_cast<size_t>(count);
  if (received < size) {
    readable_ = ended_;
  } else if (!slow_reader_) {
    read_size_ = kFullReadSize;
  }
  if (tls_ != nullptr) return OnCiphertext({memory.data(), received});
  relay_left_ -= std::min<uint64_t>(relay_left_, received);
  bytes_received_ += received;
  observer_.OnRead({memory.data(), received});
}

void Stream::OnReadFailed(ptrdiff_t count) {
  if (count < 0 && errno == EINTR) return;
  if (count < 0 && errno == EAGAIN) {
    readable_ = false;
    return;
  }
  relay_left_ = 0;
  reading_ = false;
  if (count == 0 && tls_ != nullptr) return OnTlsEnd();
  count == 0 ? observer_.OnEof() : Fail(errno);
}

// Relaying

void Stream::RelayTo(Stream& sink, uint64_t count) {
  if (tls_ != nullptr || sink.tls_ != nullptr) return;
  relay_sink_ = &sink;
  relay_left_ = count;
}

bool Stream::CanRelay() const {
  return relay_left_ > 0 && relay_sink_->unsent_ == 0 && relay_sink_->state_ == State::kOpen &&
         loop_.pipe().read_end >= 0;
}

// Socket to pipe to socket, without a copy. The pipe is empty again afterwards, because all streams
// of the loop share it: what the sink does not take is read from it and waits as usual.
void Stream::Relay() {
  // No more than the sink will take: what it refuses has to be copied and held.
  const uint64_t room =
      slow_reader_ ? kFirstReadSize
                   : std::clamp<uint64_t>(relay_sink_->SendRoom(), kFirstReadSize, kRelaySize);
  const ssize_t count = splice(fd(), nullptr, loop_.pipe().write_end, nullptr,
                               std::min(relay_left_, room), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (count <= 0) return OnReadFailed(count);
  bytes_received_ += static_cast<uint64_t>(count);
  relay_left_ -= static_cast<uint64_t>(count);
  relay_sink_->SendFromPipe(static_cast<size_t>(count));
  if (state_ == State::kOpen) observer_.OnRelayed(static_cast<uint64_t>(count));
}

// What the socket's send buffer can still hold, with a margin for what the kernel adds.
uint64_t Stream::SendRoom() const {
  std::array<uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof(memory);
  if (getsockopt(fd(), SOL_SOCKET, SO_MEMINFO, memory.data(), &size) != 0) return 0;
  const uint64_t limit = memory[SK_MEMINFO_SNDBUF];
  const uint64_t queued = memory[SK_MEMINFO_WMEM_QUEUED];
  return limit > queued ? (limit - queued) / 2 : 0;
}

void Stream::SendFromPipe(size_t count) {
  const int pipe = loop_.pipe().read_end;
  while (count > 0) {
    const ssize_t sent =
        splice(pipe, nullptr, fd(), nullptr, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent <= 0) break;
    bytes_sent_ += static_cast<uint64_t>(sent);
    count -= static_cast<size_t>(sent);
  }
  if (count == 0) return;
  const bool full = errno == EAGAIN;
  const int error_number = errno;
  std::string rest(count, '\0');
  for (size_t taken = 0; taken < count;) {
    const ssize_t got = read(pipe, rest.data() + taken, count - taken);
    SLUICE_CHECK(got > 0);  // they are there: nobody else reads
    taken += static_cast<size_t>(got);
  }
  if (!full) return Fail(error_number);
  waiting_.Append(rest);
  unsent_ += count;
  if (unsent_ > kHighWatermark && !blocked_) {
    blocked_ = true;
    observer_.OnBlocked();
  }
}

void Stream::Send(std::string_view bytes) {
  if (bytes.empty() || !takes_output()) return;
  if (lent_ != nullptr && lent_->count == LentPieces::kMaximum) {
    in_send_ = true;
    Flush();
    in_send_ = false;
    if (!takes_output()) return;
  }
  if (lent_ == nullptr) lent_ = loop_.TakePieces();
  if (lent_->count == lent_->kept) loop_.dirty_.PushBack(*this);
  lent_->pieces[lent_->count++] = {const_cast<char*>(bytes.data()), bytes.size()};
  unsent_ += bytes.size();
}

bool Stream::KeepOutput() {
  if (state_ != State::kOpen || unsent_ > kKeepLimit) {
    Flush();
    return false;
  }
  size_t size = 0;
  for (size_t i = lent_->kept; i < lent_->count; ++i) size += lent_->pieces[i].iov_len;
  char* const copy = loop_.scratch_.Allocate(size);
  char* end = copy;
  for (size_t i = lent_->kept; i < lent_->count; ++i) {
    const iovec& piece = lent_->pieces[i];
    std::memcpy(end, piece.iov_base, piece.iov_len);
    end += piece.iov_len;
  }
  lent_->pieces[lent_->kept] = {copy, size};
  lent_->count = ++lent_->kept;
  return true;
}

void Stream::Flush() {
  ListNode<Stream>::Unlink();
  if (lent_ == nullptr) return;
  if (tls_ != nullptr) {
    if (!SealLent()) return;
  } else if (state_ == State::kOpen && waiting_.empty()) {
    if (!SendLent()) return;
  } else {
    for (size_t i = 0; i < lent_->count; ++i) {
      waiting_.Append({static_cast<char*>(lent_->pieces[i].iov_base), lent_->pieces[i].iov_len});
    }
  }
  loop_.GivePieces(std::exchange(lent_, nullptr));
  if (unsent_ == 0) {
    Drained();
  } else if (unsent_ > kHighWatermark && !blocked_) {
    blocked_ = true;
    observer_.OnBlocked();
  }
}

bool Stream::SendLent() {
  ssize_t sent = 0;
  do {
    sent = SendPieces(fd(), *lent_);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      Fail(errno);
      return false;
    }
    sent = 0;
  }
  auto taken = static_cast<size_t>(sent);
  bytes_sent_ += taken;
  unsent_ -= taken;
  if (unsent_ == 0) return true;
  for (size_t i = 0; i < lent_->count; ++i) {
    const iovec& piece = lent_->pieces[i];
    const size_t skip = std::min(taken, piece.iov_len);
    taken -= skip;
    waiting_.Append({static_cast<char*>(piece.iov_base) + skip, piece.iov_len - skip});
  }
  return true;
}

void Stream::SendWaiting() {
  while (!waiting_.empty()) {
    const std::string_view bytes = waiting_.view();
    const ssize_t sent = SendPiece(fd(), bytes.data(), bytes.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return Fail(errno);
    const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
    bytes_sent_ += taken;
    unsent_ -= taken;
    waiting_.Consume(taken);
    if (taken < bytes.size()) break;  // the socket is full, and will tell when it is not
  }
  if (blocked_ && unsent_ <= kHighWatermark) {
    blocked_ = false;
    observer_.OnWritable();
  }
  if (state_ == State::kOpen && unsent_ == 0) Drained();
}

void Stream::Drained() {
  if (state_ != State::kOpen) return;
  const bool ending = close_due_ || shutdown_due_;
  if (ending && tls_ != nullptr && !tls_->close_is_sealed()) {
    tls_->SealClose(loop_.tls_buffers());
    if (!SendSealed() || unsent_ > 0) return;
  }
  if (close_due_) {
    Close();
  } else if (shutdown_due_) {
    shutdown_due_ = false;
    shutdown(fd(), SHUT_WR);
  }
}

void Stream::ShutdownWrite() {
  shutdown_due_ = true;
  if (unsent_ == 0) Drained();
}

void Stream::CloseAfterFlush() {
  close_due_ = true;
  if (unsent_ == 0) Drained();
}

void Stream::Fail(int error_number) {
  DropOutput();
  if (!in_send_) return observer_.OnStreamError(error_number);
  send_error_ = error_number;
  loop_.readable_.PushBack(*this);
}

void Stream::DropOutput() {
  ListNode<Stream>::Unlink();
  if (lent_ != nullptr) loop_.GivePieces(std::exchange(lent_, nullptr));
  unsent_ = 0;
  waiting_.Clear();
}

void Stream::Close() {
  if (state_ == State::kIdle) state_ = State::kClosed;
  if (state_ == State::kClosing || state_ == State::kClosed) return;
  state_ = State::kClosing;
  reading_ = false;
  DropOutput();
  fd_.Reset();  // which ends the watch
  loop_.closed_.PushBack(*this);
}

void Stream::FinishClose() {
  state_ = State::kClosed;
  observer_.OnClosed();
}

void Stream::CloseWithReset() {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (state_ == State::kOpen) setsockopt(fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Close();
}

SocketAddress Stream::local_address() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&storage), size);
}

}  // namespace sluice
