// Bytes both ways after an upgrade to WebSocket (RFC 6455). The exchange moves the bytes as it
// moves bodies; here is what differs: who may ask for a tunnel, which answer opens it, and when it
// is over. Part of an Exchange.
//
//   kClosed ─asked─► kAsked: nothing of the client goes up ─answer is good─► kOpen ─┐
//      ▲                                                                            │
//      └────────────────────── both sides have ended, one failed, or all was silent ┘
#pragma once

#include <cstdint>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/http/message.h"
#include "gateway/http/websocket_frames.h"
#include "gateway/net/loop.h"

namespace sluice {

class Tunnel final : public Deadline::Observer {
 public:
  class Observer {
   public:
    virtual void OnTunnelIdle() = 0;  // nothing came from either side for the whole time

   protected:
    ~Observer() = default;
  };

  enum class Side : uint8_t { kClient = 1, kUpstream = 2 };

  Tunnel(Loop& loop, Observer& observer)
      : loop_(loop), observer_(observer), deadline_(loop.deadlines(), *this) {}

  // Does this request ask for a WebSocket? With a body it does not: where the body ends and the
  // tunnel begins would be a matter of opinion.
  static bool IsAskedFor(const RequestHead& head);
  // Does this 101 open a WebSocket? An HTTP/1 client compares the answer to its key by itself; that
  // to a key which we made for an HTTP/2 client is compared here (RFC 6455 4.1).
  static Status CheckAnswer(const RequestHead& request, const ResponseHead& answer);

  void Ask() { state_ = State::kAsked; }
  void Open(Duration idle);
  void Close();
  bool is_asked() const { return state_ == State::kAsked; }
  bool is_open() const { return state_ == State::kOpen; }
  bool is_ending() const { return ended_ != 0; }  // a side sends no more

  // Whatever goes through says that it is not idle, and whoever does not take what is sent to it
  // stops the clock: its own time limit counts then. These do nothing unless it is open.
  void OnBytes() { UpdateDeadline(); }
  void OnUpstreamBytes(std::string_view bytes) {
    if (state_ != State::kOpen) return;
    frames_.Skip(bytes);
    UpdateDeadline();
  }
  void SetBlocked(Side side, bool blocked);

  // What tells the client that we end the tunnel, behind all that the upstream has sent; empty when
  // that is not possible, because the upstream is in the middle of a frame or has closed.
  std::string_view Goodbye() const;

  // That side sends no more. True: both have ended.
  bool End(Side side);

  void OnDeadline() override { observer_.OnTunnelIdle(); }

 private:
  enum class State : uint8_t { kClosed, kAsked, kOpen };

  void UpdateDeadline();

  State state_ = State::kClosed;
  uint8_t blocked_ = 0;  // sets of Side
  uint8_t ended_ = 0;
  WebSocketFrames frames_;  // from the upstream; of spliced bytes we would know nothing
  Loop& loop_;
  Observer& observer_;
  Deadline deadline_;
  Duration idle_{};
};

}  // namespace sluice
