// One byte stream over a connected socket (TCP or UNIX), armed for reading once and for life. What
// is sent is collected and leaves in one sendmsg when the current callback ends; what the kernel
// does not take is copied and waits. Owned by a connection; Close is the one way out, and the owner
// may free the memory when OnClosed has been called, never before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

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
  virtual void OnConnected(Status status) = 0;       // after Connect
  virtual void OnRead(std::string_view bytes) = 0;   // lent until the callback ends
  virtual void OnRelayed(uint64_t) {}                // RelayTo has moved that many bytes
  virtual void OnEof() = 0;                          // the peer sends no more
  virtual void OnStreamError(int error_number) = 0;  // reading or writing failed; Close it
  virtual void OnBlocked() = 0;   // the peer does not take more: stop producing until OnWritable
  virtual void OnWritable() = 0;  // what was blocked has drained
  virtual void OnClosed() = 0;

 protected:
  ~StreamObserver() = default;
};

class Stream : public ListNode<Stream> {
 public:
  // Output waiting above it after a flush means: stop producing (OnBlocked) until OnWritable.
  static constexpr size_t kHighWatermark = 64 * 1024;

  Stream(Loop& loop, StreamObserver& observer);
  ~Stream();  // precondition: never opened, or OnClosed was called

  Status Accept(int fd, bool is_unix);  // takes a connected descriptor over and starts reading
  void Connect(const SocketAddress& address);  // ends in OnConnected; reads after success

  // Queues bytes that stay valid until the current callback ends (receive buffer, scratch,
  // literals). Dropped after Close.
  void Send(std::string_view bytes);
  size_t unsent() const { return unsent_; }
  // As unsent, but falls with every byte that the kernel takes of a blocked write: for send
  // timeouts.
  size_t unsent_now() const;

  // Moves the next `count` bytes that arrive here to `sink` inside the kernel (splice), reported by
  // OnRelayed; after them reading goes on as before. While `sink` has unsent output they come
  // through OnRead instead and count too. `sink` must be open for as long as this is, or until the
  // count is reached.
  void RelayTo(Stream& sink, uint64_t count);

  // Also makes later reads smaller: whoever gets the bytes cannot keep up.
  void PauseReading();
  void ResumeReading();
  bool is_reading() const { return reading_; }

  void ShutdownWrite();    // FIN after what is unsent
  void CloseAfterFlush();  // Close when everything has been given to the kernel
  void Close();            // drops what is unsent
  void CloseWithReset();   // RST, for an abort that the peer must notice
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

  void Flush();
  bool SendNow();  // false: the stream failed
  void WaitForPeer();
  void StartReading();
  void OnReadable(ptrdiff_t count);
  bool CanRelay() const;
  void Relay();
  void SendFromPipe(size_t count);
  uint64_t SendRoom() const;
  void OnConnectDone(int status);
  void OnWritten(int status);
  void Drained();
  void Fail(int uv_error);
  void DropOutput();

  Loop& loop_;
  StreamObserver& observer_;
  std::unique_ptr<Backend> backend_;
  State state_ = State::kIdle;
  bool reading_ = false;
  bool writing_ = false;  // the backend waits until the socket takes in_flight_
  bool blocked_ = false;  // OnBlocked was called
  bool shutdown_due_ = false;
  bool close_due_ = false;
  bool slow_reader_ = false;  // who gets these bytes could not keep up: read small pieces only
  uint32_t read_size_;
  LentPieces* lent_ = nullptr;  // queued by Send, not yet flushed
  Stream* relay_sink_ = nullptr;
  uint64_t relay_left_ = 0;
  size_t unsent_ = 0;  // lent, in flight and waiting
  Buffer in_flight_;   // given to the backend
  Buffer waiting_;     // behind it, or until connected
  uint64_t bytes_received_ = 0;
  uint64_t bytes_sent_ = 0;
};

}  // namespace sluice
