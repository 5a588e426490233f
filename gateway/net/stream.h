// One byte stream over a connected socket (TCP or UNIX), watched once and for life, edge-triggered:
// it remembers what the socket was ready for until the socket says otherwise. What is sent is
// collected and leaves in one sendmsg when the current callback ends; what the kernel does not take
// is copied and waits. Owned by a connection; Close is the one way out, and the owner may free the
// memory when OnClosed has been called, never before.
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
#include "gateway/net/tls_session.h"

namespace sluice {

// Receives a stream's events. Each is called with nothing of the stream on the stack that a Close
// in it could hurt.
class StreamObserver {
 public:
  virtual void OnConnected(Status status) = 0;  // after Connect
  // After StartTls. On an error nothing can be sent any more, except plain text when the code is
  // kPlainHttp; close the stream.
  virtual void OnSecured(Status) {}                  // NOLINT(performance-unnecessary-value-param)
  virtual void OnRead(std::string_view bytes) = 0;   // lent until the callback ends
  virtual void OnRelayed(uint64_t) {}                // RelayTo has moved that many bytes
  virtual void OnEof() = 0;                          // the peer sends no more; see is_truncated
  virtual void OnStreamError(int error_number) = 0;  // reading or writing failed; Close it
  virtual void OnBlocked() = 0;   // the peer does not take more: stop producing until OnWritable
  virtual void OnWritable() = 0;  // what was blocked has drained
  virtual void OnClosed() = 0;

 protected:
  ~StreamObserver() = default;
};

class Stream final : public ReadyObserver, public ListNode<Stream>, public ListNode<NextTurnTag> {
 public:
  // Output waiting above it after a flush means: stop producing (OnBlocked) until OnWritable.
  static constexpr size_t kHighWatermark = 64 * 1024;

  Stream(Loop& loop, StreamObserver& observer);
  ~Stream();  // precondition: never opened, or OnClosed was called

  Status Accept(int fd);  // takes a connected descriptor over and starts reading
  void Connect(const SocketAddress& address);  // ends in OnConnected; reads after success

  // From now on what is sent and read is inside TLS. `early`: bytes that came already and belong to
  // it; they are copied. Ends in OnSecured; nothing may be sent before. What
  // was sent until now leaves as it is.
  void StartTls(std::unique_ptr<TlsSession> session, std::string_view early = {});
  const TlsSession* tls() const { return tls_.get(); }  // null: plain text

  // Queues bytes that stay valid until the current callback ends (receive buffer, scratch,
  // literals). Dropped after Close. Never calls OnStreamError: the owner is in the middle of its
  // work; that comes in the next turn.
  void Send(std::string_view bytes);
  size_t unsent() const { return unsent_; }  // falls with every byte that the kernel takes

  // Moves the next `count` bytes that arrive here to `sink` inside the kernel (splice), reported by
  // OnRelayed; after them reading goes on as before. While `sink` has unsent output they come
  // through OnRead instead and count too. With TLS on either side nothing is moved. `sink` must be
  // open for as long as this is, or until the count is reached.
  void RelayTo(Stream& sink, uint64_t count);

  // Also makes later reads smaller: whoever gets the bytes cannot keep up.
  void PauseReading();
  void ResumeReading();
  bool is_reading() const { return reading_; }

  void ShutdownWrite();    // FIN after what is unsent
  void CloseAfterFlush();  // Close when everything has been given to the kernel
  void Close();            // drops what is unsent
  // Before Close: tells the peer inside TLS that all was sent, if that is so and the socket takes
  // it at once.
  void SendTlsEnd();
  // The end is a cut: inside TLS the peer is not told that all was sent.
  void OmitTlsEnd() {
    if (tls_ != nullptr) tls_->OmitClose();
  }
  void CloseWithReset();  // RST, for an abort that the peer must notice
  bool is_open() const { return state_ == State::kOpen; }
  bool is_closed() const { return state_ == State::kClosed; }
  // After OnEof: the connection ended without the word of TLS that all was sent, so that what came
  // may not be complete.
  bool is_truncated() const { return truncated_; }

  uint64_t bytes_received() const { return bytes_received_; }  // by the observer
  uint64_t bytes_sent() const { return bytes_sent_; }          // by the kernel
  int fd() const { return fd_.get(); }
  SocketAddress local_address() const;

 private:
  friend class Loop;
  enum class State : uint8_t { kIdle, kConnecting, kOpen, kClosing, kClosed };

  Status Open(int fd, State state);
  void OnReady(uint32_t events) override;
  int BeginConnect(const SocketAddress& address);  // 0, or why it failed at once
  void OnConnectDone(int error_number);
  void ReadMore();
  void Read();
  bool CanRelay() const;
  void Relay();
  void OnReadFailed(ptrdiff_t count);  // what recv or splice returned, with errno
  void SendFromPipe(size_t count);
  uint64_t SendRoom() const;
  static ptrdiff_t SendPiece(int fd, const void* data, size_t size);
  static ptrdiff_t SendPieces(int fd, LentPieces& lent);
  bool QueueHandshake();  // false: there is none
  void Handshake();
  void OnCiphertext(std::string_view bytes);
  void OnTlsEnd();
  void OnTlsFailed();
  bool SendSealed();  // false: the stream failed
  void Flush();
  bool KeepOutput();  // false: it was too much to keep, and is flushed
  bool SendLent();    // false: the stream failed
  bool SealLent();    // false: the stream failed
  void SendWaiting();
  void Drained();
  bool takes_output() const {
    return (state_ == State::kOpen || state_ == State::kConnecting) && send_error_ == 0;
  }
  void Fail(int error_number);
  void DropOutput();
  void FinishClose();

  Loop& loop_;
  StreamObserver& observer_;
  UniqueFd fd_;
  State state_ = State::kIdle;
  bool reading_ = false;   // the owner wants what comes
  bool readable_ = false;  // the socket has more, as far as is known
  bool ended_ = false;     // behind that is the end, or an error
  bool blocked_ = false;   // OnBlocked was called
  bool shutdown_due_ = false;
  bool close_due_ = false;
  bool truncated_ = false;
  bool in_send_ = false;      // which flushes: the owner is on the stack
  bool slow_reader_ = false;  // who gets these bytes could not keep up: read small pieces only
  int connect_error_ = 0;     // of a connect that failed at once
  int send_error_ = 0;        // of a flush inside Send, until it is told
  uint32_t read_size_;
  std::unique_ptr<TlsSession> tls_;
  LentPieces* lent_ = nullptr;  // queued by Send, not yet flushed
  Stream* relay_sink_ = nullptr;
  uint64_t relay_left_ = 0;
  size_t unsent_ = 0;  // lent and waiting
  Buffer waiting_;     // until the socket says that it takes more
  uint64_t bytes_received_ = 0;
  uint64_t bytes_sent_ = 0;
};

}  // namespace sluice
