#include "gateway/net/stream.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

namespace sluice {
namespace {

// What one read may take: small until a peer shows that it has more, so that a slow reader on the
// other side of an exchange cannot make us hold a large remainder.
constexpr uint32_t kFirstReadSize = 64 * 1024;
constexpr uint32_t kFullReadSize = 128 * 1024;
// What one splice may take.
constexpr uint64_t kRelaySize = 1024 * 1024;

int UnixConnect(uv_connect_t* request, uv_pipe_t* pipe, std::string_view path, uv_connect_cb done) {
  uv_pipe_connect(request, pipe, std::string(path).c_str(), done);
  return 0;
}

}  // namespace

// The libuv handle with the requests that a slow path needs. Lives until the close callback.
struct Stream::Backend {
  union {
    uv_stream_t stream;
    uv_handle_t handle;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  };
  std::unique_ptr<uv_connect_t> connect;
  std::unique_ptr<uv_write_t> write;
  std::unique_ptr<uv_shutdown_t> shutdown;

  Backend(Loop& loop, Stream& owner, bool is_unix) {
    const int error = is_unix ? uv_pipe_init(loop.raw(), &pipe, 0) : uv_tcp_init(loop.raw(), &tcp);
    SLUICE_CHECK(error == 0);
    handle.data = &owner;
  }

  static Stream& Owner(const void* data) { return *static_cast<Stream*>(const_cast<void*>(data)); }
  static void Allocate(uv_handle_t* handle, size_t, uv_buf_t* buffer) {
    const Stream& owner = Owner(handle->data);
    // An empty buffer makes libuv report the event without reading: Relay does it then.
    if (owner.CanRelay()) return;
    const std::span<char> memory = owner.loop_.receive_buffer();
    buffer->base = memory.data();
    buffer->len = std::min<size_t>(owner.read_size_, memory.size());
  }
  static void OnRead(uv_stream_t* handle, ssize_t count, const uv_buf_t*) {
    Owner(handle->data).OnReadable(count);
  }
  static void OnClose(uv_handle_t* handle) {
    Stream& owner = Owner(handle->data);
    owner.backend_.reset();
    owner.state_ = State::kClosed;
    owner.observer_.OnClosed();
  }
};

Stream::Stream(Loop& loop, StreamObserver& observer)
    : loop_(loop), observer_(observer), read_size_(kFirstReadSize) {}

Stream::~Stream() { SLUICE_CHECK(state_ == State::kIdle || state_ == State::kClosed); }

Status Stream::Accept(int fd, bool is_unix) {
  backend_ = std::make_unique<Backend>(loop_, *this, is_unix);
  state_ = State::kOpen;
  const int error = is_unix ? uv_pipe_open(&backend_->pipe, fd) : uv_tcp_open(&backend_->tcp, fd);
  if (error != 0) {
    close(fd);
    Close();
    return SystemError("open an accepted socket", -error);
  }
  StartReading();
  return {};
}

void Stream::Connect(const SocketAddress& address) {
  backend_ = std::make_unique<Backend>(loop_, *this, address.is_unix());
  backend_->connect = std::make_unique<uv_connect_t>();
  uv_connect_t* request = backend_->connect.get();
  request->data = this;
  state_ = State::kConnecting;
  const auto done = [](uv_connect_t* connect, int status) {
    Backend::Owner(connect->data).OnConnectDone(status);
  };
  const int error = address.is_unix()
                        ? UnixConnect(request, &backend_->pipe, address.path(), done)
                        : uv_tcp_connect(request, &backend_->tcp, address.raw(), done);
  if (error != 0) {
    // The owner expects the answer later, as always.
    loop_.Post([this, error] { OnConnectDone(error); });
  } else if (!address.is_unix()) {
    uv_tcp_nodelay(&backend_->tcp, 1);
  }
}

void Stream::OnConnectDone(int status) {
  if (state_ != State::kConnecting) return;  // closed meanwhile
  if (status != 0) {
    observer_.OnConnected(SystemError("connect", -status));
    loop_.FlushDirty();
    return;
  }
  state_ = State::kOpen;
  backend_->connect.reset();
  StartReading();
  observer_.OnConnected({});
  if (state_ == State::kOpen && !waiting_.empty() && !writing_) {
    in_flight_ = std::exchange(waiting_, Buffer());
    WaitForPeer();
  }
  loop_.FlushDirty();
}

void Stream::StartReading() {
  reading_ = true;
  const int error = uv_read_start(&backend_->stream, Backend::Allocate, Backend::OnRead);
  SLUICE_CHECK(error == 0);
}

void Stream::PauseReading() {
  if (!reading_ || state_ != State::kOpen) return;
  reading_ = false;
  slow_reader_ = true;
  read_size_ = kFirstReadSize;
  uv_read_stop(&backend_->stream);
}

void Stream::ResumeReading() {
  if (reading_ || state_ != State::kOpen) return;
  StartReading();
}

void Stream::OnReadable(ptrdiff_t count) {
  if (count == 0) return;  // EAGAIN
  if (count == UV_ENOBUFS) {
    Relay();
  } else if (count > 0) {
    const auto relayed = std::min<uint64_t>(relay_left_, static_cast<uint64_t>(count));
    relay_left_ -= relayed;
    bytes_received_ += static_cast<uint64_t>(count);
    if (static_cast<size_t>(count) == read_size_ && !slow_reader_) read_size_ = kFullReadSize;
    observer_.OnRead({loop_.receive_buffer().data(), static_cast<size_t>(count)});
  } else {
    reading_ = false;
    uv_read_stop(&backend_->stream);
    if (count == UV_EOF) {
      observer_.OnEof();
    } else {
      Fail(static_cast<int>(count));
    }
  }
  loop_.FlushDirty();
}

void Stream::RelayTo(Stream& sink, uint64_t count) {
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
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    relay_left_ = 0;
    reading_ = false;
    uv_read_stop(&backend_->stream);
    return count == 0 ? observer_.OnEof() : Fail(-errno);
  }
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
  if (!full) return Fail(-error_number);
  in_flight_.Append(rest);
  unsent_ += count;
  WaitForPeer();
  if (state_ == State::kOpen && unsent_ > kHighWatermark && !blocked_) {
    blocked_ = true;
    observer_.OnBlocked();
  }
}

void Stream::Send(std::string_view bytes) {
  if (bytes.empty() || (state_ != State::kOpen && state_ != State::kConnecting)) return;
  if (lent_ == nullptr) {
    lent_ = loop_.TakePieces();
    loop_.dirty_.PushBack(*this);
  } else if (lent_->count == LentPieces::kMaximum) {
    Flush();
    if (state_ != State::kOpen && state_ != State::kConnecting) return;
    lent_ = loop_.TakePieces();
    loop_.dirty_.PushBack(*this);
  }
  lent_->pieces[lent_->count++] = {const_cast<char*>(bytes.data()), bytes.size()};
  unsent_ += bytes.size();
}

void Stream::Flush() {
  Unlink();
  if (lent_ == nullptr) return;
  if (state_ == State::kOpen && !writing_) {
    if (!SendNow()) return;
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

bool Stream::SendNow() {
  msghdr message{};
  message.msg_iov = lent_->pieces.data();
  message.msg_iovlen = lent_->count;
  ssize_t sent = 0;
  do {
    sent = sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      Fail(-errno);
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
    in_flight_.Append({static_cast<char*>(piece.iov_base) + skip, piece.iov_len - skip});
  }
  WaitForPeer();
  return true;
}

// Hands in_flight_ to libuv, which waits for the socket: the slow path, one at a time.
void Stream::WaitForPeer() {
  if (backend_->write == nullptr) backend_->write = std::make_unique<uv_write_t>();
  backend_->write->data = this;
  writing_ = true;
  const std::string_view bytes = in_flight_.view();
  const uv_buf_t buffer =
      uv_buf_init(const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()));
  const int error = uv_write(
      backend_->write.get(), &backend_->stream, &buffer, 1,
      [](uv_write_t* request, int status) { Backend::Owner(request->data).OnWritten(status); });
  if (error != 0) Fail(error);
}

void Stream::OnWritten(int status) {
  writing_ = false;
  if (state_ != State::kOpen) return;
  if (status != 0) {
    Fail(status);
    loop_.FlushDirty();
    return;
  }
  bytes_sent_ += in_flight_.size();
  unsent_ -= in_flight_.size();
  in_flight_.Clear();
  if (!waiting_.empty()) {
    in_flight_ = std::exchange(waiting_, Buffer());
    WaitForPeer();
  }
  if (state_ == State::kOpen && unsent_ == 0) backend_->write.reset();
  if (state_ == State::kOpen && blocked_ && unsent_ <= kHighWatermark) {
    blocked_ = false;
    observer_.OnWritable();
  }
  if (state_ == State::kOpen && unsent_ == 0) Drained();
  loop_.FlushDirty();
}

void Stream::Drained() {
  if (state_ != State::kOpen) return;
  if (close_due_) {
    Close();
  } else if (shutdown_due_) {
    shutdown_due_ = false;
    shutdown(fd(), SHUT_WR);
  }
}

size_t Stream::unsent_now() const {
  if (!writing_) return unsent_;
  return unsent_ - in_flight_.size() + uv_stream_get_write_queue_size(&backend_->stream);
}

void Stream::ShutdownWrite() {
  shutdown_due_ = true;
  if (unsent_ == 0) Drained();
}

void Stream::CloseAfterFlush() {
  close_due_ = true;
  if (unsent_ == 0) Drained();
}

void Stream::Fail(int uv_error) {
  DropOutput();
  observer_.OnStreamError(-uv_error);
}

void Stream::DropOutput() {
  Unlink();
  if (lent_ != nullptr) loop_.GivePieces(std::exchange(lent_, nullptr));
  unsent_ = writing_ ? in_flight_.size() : 0;  // libuv still points into in_flight_
  waiting_.Clear();
}

void Stream::Close() {
  if (state_ == State::kIdle) state_ = State::kClosed;
  if (state_ == State::kClosing || state_ == State::kClosed) return;
  state_ = State::kClosing;
  reading_ = false;
  DropOutput();
  uv_close(&backend_->handle, Backend::OnClose);
}

void Stream::CloseWithReset() {
  if (state_ != State::kOpen || backend_->handle.type != UV_TCP) return Close();
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Close();
}

int Stream::fd() const {
  int descriptor = -1;
  uv_fileno(&backend_->handle, &descriptor);
  return descriptor;
}

SocketAddress Stream::local_address() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  if (getsockname(fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return SocketAddress::FromRaw(reinterpret_cast<const sockaddr*>(&storage), size);
}

}  // namespace sluice
