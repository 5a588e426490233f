#include "gateway/net/deadline.h"

#include <algorithm>

namespace sluice {

void DeadlineWheel::Insert(Deadline& deadline) {
  // The tick after the one that contains the deadline, so that it never fires early; beyond the
  // horizon it waits in the last slot and is looked at again there.
  const uint64_t wanted = TickOf(deadline.at_) + 1;
  deadline.slot_tick_ = std::clamp(wanted, tick_ + 1, tick_ + kSlots - 1);
  slots_[deadline.slot_tick_ % kSlots].PushBack(deadline);
}

void DeadlineWheel::Advance(MonoTime now) {
  now_ = now;
  const uint64_t target = TickOf(now);
  // After a long stall each slot needs one visit only.
  if (target > tick_ + kSlots) tick_ = target - kSlots;
  while (tick_ < target) {
    ++tick_;
    IntrusiveList<Deadline> due;
    while (Deadline* deadline = slots_[tick_ % kSlots].PopFront()) due.PushBack(*deadline);
    // An observer may destroy other deadlines of the list: they unlink themselves.
    while (Deadline* deadline = due.PopFront()) {
      if (!deadline->is_set()) continue;
      if (deadline->at_ > now) {
        Insert(*deadline);
        continue;
      }
      deadline->at_ = MonoTime::max();
      deadline->observer_.OnDeadline();
    }
  }
}

}  // namespace sluice
