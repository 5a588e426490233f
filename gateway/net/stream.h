// One byte stream over a connected socket (TCP or UNIX), armed for reading once and for life. What
// is sent is collected and leaves in one sendmsg when the current callback ends; what the kernel
// does not take is copied and waits. Owned by a connection; Close is the one way out, and the owner
// may free the memory when OnClosed has been called, never before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <sys/uio.h>

#include "gateway/base/address.h"
#include "gateway/base/buffer.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/base/result.h"
#include "gateway/net/loop.h"

namespace sluice {

// Receives a stream's events. Each is called with nothing of the stream on the stack that a Close
// in it could hurt.
class StreamObserver {
 public:
  virtual void OnConnected(Status status) = 0;      // after Connect
  virtual void OnRead(std::string_view bytes) = 0;  // lent until the callback ends
  virtual void OnEof() = 0;                         // the peer sends no more
  virtual void OnStreamError(int error_number) = 0;  // reading or writing failed; Close it
  virtual void OnWritable() = 0;  // output that was above the high watermark has drained
  virtual void OnClosed() = 0;

 protected:
  ~StreamObserver() = default;
};

class Stream : public ListNode<Stream> {
 public:
  // Output waiting above the high watermark means: stop producing until OnWritable.
  static constexpr size_t kHighWatermark = 64 * 1024;

  Stream(Loop& loop, StreamObserver& observer);
  ~Stream();  // precondition: never opened, or OnClosed was called

  Status Accept(int fd, bool is_unix);  // takes a connected descriptor over and starts reading
  void Connect(const SocketAddress& address);  // ends in OnConnected; reads after success

  // Queues bytes that stay valid until the current callback ends (receive buffer, scratch,
  // literals). Dropped after Close.
  void Send(std::string_view bytes);
  size_t unsent() const { return unsent_; }
  bool is_congested() const { return unsent_ > kHighWatermark; }

  void PauseReading();
  void ResumeReading();
  bool is_reading() const { return reading_; }

  void ShutdownWrite();  // FIN after what is unsent
  void Close();          // drops what is unsent
  void CloseWithReset();  // RST, for an abort that the peer must notice
  bool is_open() const { return state_ == State::kOpen; }
  bool is_closed() const { return state_ == State::kClosed; }

  uint64_t bytes_received() const { return bytes_received_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  int fd() const;
  SocketAddress local_address() const;

 private:
  friend class Loop;
  enum class State : uint8_t { kIdle, kConnecting, kOpen, kClosing, kClosed };
  struct Backend;
  static constexpr size_t kMaxPieces = 16;

  void Flush();
  void StartReading();
  void WriteLater(size_t already_sent);
  void ContinueWriting();
  void OnReadable(ptrdiff_t count, const char* bytes);
  void OnWritten(int status);
  void Fail(int error_number);

  Loop& loop_;
  StreamObserver& observer_;
  std::unique_ptr<Backend> backend_;
  State state_ = State::kIdle;
  bool reading_ = false;
  bool writing_ = false;           // the backend waits for the socket to take `in_flight_`
  bool was_congested_ = false;
  bool shutdown_due_ = false;
  uint8_t pieces_ = 0;
  uint32_t read_size_ = 64 * 1024;
  size_t unsent_ = 0;
  uint64_t bytes_received_ = 0;
  uint64_t bytes_sent_ = 0;
  std::array<iovec, kMaxPieces> lent_;  // queued by Send, not yet flushed
  Buffer in_flight_;                    // given to the backend
  Buffer waiting_;                      // behind it
};

}  // namespace sluice
