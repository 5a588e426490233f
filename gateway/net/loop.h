// One epoll loop of one process, and what all its sockets share: the receive buffer, the coarse
// deadline wheel, and the list of streams with output to flush. Streams and listeners are watched
// by an epoll set of our own, edge-triggered; libuv runs inside it for everything else (timers,
// signals, files, pool threads). Owned by the process' role; everything on it is used from its
// thread only, except Post.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/epoll.h>
#include <sys/uio.h>

#include "gateway/base/arena.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/base/unique_fd.h"
#include "gateway/net/deadline.h"

struct uv_loop_s;

namespace sluice {

class Stream;
class TlsBuffers;

// Output of one stream, lent to it: the first `kept` pieces lie in the loop's scratch until the
// turn ends, the others are valid until the callback ends. Few streams have output at one time, so
// the loop holds these for all of them.
struct LentPieces {
  static constexpr size_t kMaximum = 32;
  size_t count = 0;
  size_t kept = 0;
  std::array<iovec, kMaximum> pieces;
};

// Gets the readiness of a descriptor that a loop watches.
class ReadyObserver {
 public:
  virtual void OnReady(uint32_t events) = 0;  // EPOLLIN, EPOLLOUT and their kin

 protected:
  ~ReadyObserver() = default;
};

// Makes its output late, so that what many streams of a connection send in one turn leaves
// together.
class OutputSource : public ListNode<OutputSource> {
 public:
  // The callback ends: send what is much, keep the rest, because what was lent ends here.
  virtual void OnCallbackEnd() = 0;
  virtual void OnTurnEnd() = 0;  // send the rest

 protected:
  ~OutputSource() = default;
};

struct NextTurnTag;

class Loop {
 public:
  static Result<std::unique_ptr<Loop>> Make();
  static std::string Library();  // "libuv 1.44.2", for the version command
  ~Loop();  // precondition: every handle on the loop was closed; runs their last callbacks
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Run();   // until Stop
  void Stop();  // ends Run after the current turn

  // Runs `task` on the loop's thread in a later turn. From any thread.
  void Post(std::function<void()> task);
  // Runs `work` on a pool thread, then `done` on the loop's thread.
  void RunOffLoop(std::function<void()> work, std::function<void()> done);

  // Until Unwatch, or until the last copy of the descriptor is closed. `observer` has to live to
  // the end of the turn in which that happens, unless Unwatch is called.
  Status Watch(int fd, uint32_t events, ReadyObserver& observer);
  void Unwatch(int fd, const ReadyObserver& observer);

  MonoTime now() const { return now_; }  // of this turn, millisecond precision
  DeadlineWheel& deadlines() { return deadlines_; }

  // Bytes that live at least until the current callback ends: for serialised heads that are lent to
  // Stream::Send.
  Arena& scratch() { return scratch_; }
  std::span<char> receive_buffer() { return receive_buffer_; }

  uv_loop_s* raw() { return raw_.get(); }

  // Each callback ends with one of these, which end the life of lent bytes: sends what streams have
  // queued, or copies what is small and sends it when the turn ends, so that many events of one
  // turn wake a peer once.
  void FlushDirty();
  void KeepSmall();
  // Before the callback ends: `source` has new output. It unlinks itself when it dies.
  void AddOutput(OutputSource& source) { sources_.PushBack(source); }

 private:
  friend class Stream;
  struct Handles;

  // A pipe through which streams move bytes inside the kernel; empty between callbacks. Made at
  // the first use; -1 when the system has none left.
  struct Pipe {
    int read_end = -1;
    int write_end = -1;
  };
  const Pipe& pipe();

  TlsBuffers& tls_buffers();  // made at the first use

  LentPieces* TakePieces();
  void GivePieces(LentPieces* pieces);

  Loop();
  void RunTurn();
  void UpdateNow();
  void RunLibrary();
  void ReapClosed();
  void RunPosted();
  void RunHandshakes();

  static constexpr size_t kEventBatch = 512;
  // Steps of TLS handshakes in one turn, each up to a millisecond of computing; established
  // connections come first.
  static constexpr int kHandshakesPerTurn = 4;

  std::unique_ptr<uv_loop_s> raw_;
  std::unique_ptr<Handles> handles_;
  MonoTime now_{};
  DeadlineWheel deadlines_;
  Arena scratch_{64 * 1024};
  std::vector<char> receive_buffer_;
  std::unique_ptr<TlsBuffers> tls_buffers_;
  Pipe pipe_;
  UniqueFd epoll_;
  std::array<epoll_event, kEventBatch> events_;
  size_t event_count_ = 0;
  bool stopped_ = false;
  bool library_is_due_ = true;
  IntrusiveList<Stream> dirty_;                  // have output that is lent until the callback ends
  IntrusiveList<Stream> kept_;                   // have small output that waits for the turn's end
  IntrusiveList<OutputSource> sources_;          // have output that is lent until the callback ends
  IntrusiveList<OutputSource> kept_sources_;     // have output that waits for the turn's end
  IntrusiveList<Stream, NextTurnTag> readable_;  // have something to do in the next turn
  IntrusiveList<Stream, NextTurnTag> handshakes_;  // can go on with theirs
  IntrusiveList<Stream, NextTurnTag> closed_;      // OnClosed is due
  std::vector<std::unique_ptr<LentPieces>> free_pieces_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace sluice
