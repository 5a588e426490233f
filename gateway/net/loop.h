// One epoll loop (libuv) of one process, and what all its sockets share: the receive buffer, the
// coarse deadline wheel, and the list of streams with output to flush. Owned by the process' role;
// everything on it is used from its thread only, except Post.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/uio.h>

#include "gateway/base/arena.h"
#include "gateway/base/intrusive_list.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/net/deadline.h"

struct uv_loop_s;

namespace sluice {

class Stream;

// Bytes lent to one stream during a callback. Few streams have output at one time, so the loop
// keeps these for all of them.
struct LentPieces {
  static constexpr size_t kMaximum = 32;
  std::array<iovec, kMaximum> pieces;
  size_t count = 0;
};

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

  MonoTime now() const;  // of this turn, millisecond precision
  DeadlineWheel& deadlines() { return deadlines_; }

  // Bytes that live until the current callback ends, when every dirty stream has been flushed: for
  // serialised heads that are lent to Stream::Send.
  Arena& scratch() { return scratch_; }
  std::span<char> receive_buffer() { return receive_buffer_; }

  uv_loop_s* raw() { return raw_.get(); }

  // For streams and watchers: sends what streams have queued and ends the life of lent bytes.
  void FlushDirty();

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

  LentPieces* TakePieces();
  void GivePieces(LentPieces* pieces);

  Loop();
  void RunPosted();

  std::unique_ptr<uv_loop_s> raw_;
  std::unique_ptr<Handles> handles_;
  DeadlineWheel deadlines_;
  Arena scratch_{64 * 1024};
  std::vector<char> receive_buffer_;
  Pipe pipe_;
  IntrusiveList<Stream> dirty_;
  std::vector<std::unique_ptr<LentPieces>> free_pieces_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace sluice
