// Timeouts without a timer each: a wheel of 100 ms slots, driven by one coarse timer of the loop.
// Moving a deadline later, the common case, is one store; the node moves when its slot comes round.
// A Deadline belongs to the object that waits and leaves the wheel when it dies. Precision: fires
// up to 200 ms late, never early.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gateway/base/intrusive_list.h"
#include "gateway/base/time.h"

namespace sluice {

class Deadline;

class DeadlineWheel {
 public:
  static constexpr Duration kTick = milliseconds(100);

  explicit DeadlineWheel(MonoTime now) : now_(now), tick_(TickOf(now)) {}

  // Fires what is due. Called by the loop's timer, not from inside a deadline.
  void Advance(MonoTime now);
  MonoTime now() const { return now_; }  // coarse: of the last Advance

 private:
  friend class Deadline;
  static constexpr size_t kSlots = 1024;

  static uint64_t TickOf(MonoTime time) {
    return static_cast<uint64_t>(time.time_since_epoch() / kTick);
  }
  void Insert(Deadline& deadline);

  MonoTime now_;
  uint64_t tick_;
  std::array<IntrusiveList<Deadline>, kSlots> slots_;
};

class Deadline : public ListNode<Deadline> {
 public:
  // `on_expired` is called once for each deadline that passes; it may destroy this object.
  class Observer {
   public:
    virtual void OnDeadline() = 0;

   protected:
    ~Observer() = default;
  };

  Deadline(DeadlineWheel& wheel, Observer& observer) : wheel_(wheel), observer_(observer) {}

  void Set(MonoTime at) {
    at_ = at;
    if (!is_linked() || DeadlineWheel::TickOf(at) + 1 < slot_tick_) wheel_.Insert(*this);
  }
  void Cancel() { at_ = MonoTime::max(); }
  bool is_set() const { return at_ != MonoTime::max(); }
  MonoTime at() const { return at_; }

 private:
  friend class DeadlineWheel;

  DeadlineWheel& wheel_;
  Observer& observer_;
  MonoTime at_ = MonoTime::max();
  uint64_t slot_tick_ = 0;
};

}  // namespace sluice
