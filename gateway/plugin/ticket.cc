#include "gateway/plugin/ticket.h"

namespace sluice {

SuspensionTable::Key SuspensionTable::Add(Suspendable& suspended) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  slots_[slot].suspended = &suspended;
  return {slot, slots_[slot].generation};
}

void SuspensionTable::Remove(Key key) {
  if (Find(key) == nullptr) return;
  Slot& slot = slots_[key.slot];
  slot.suspended = nullptr;
  if (++slot.generation == 0) slot.generation = 1;
  free_.push_back(key.slot);
}

Suspendable* SuspensionTable::Find(Key key) const {
  if (key.generation == 0 || key.slot >= slots_.size()) return nullptr;
  const Slot& slot = slots_[key.slot];
  return slot.generation == key.generation ? slot.suspended : nullptr;
}

RequestContext* Ticket::request() const {
  Suspendable* const suspended = table_ == nullptr ? nullptr : table_->Find(key_);
  return suspended == nullptr ? nullptr : &suspended->suspended_request();
}

void Ticket::Resume(Verdict verdict) {
  SuspensionTable* const table = std::exchange(table_, nullptr);
  Suspendable* const suspended = table == nullptr ? nullptr : table->Find(key_);
  if (suspended == nullptr) return;
  table->Remove(key_);
  suspended->OnResume(verdict);
}

void Ticket::Drop() {
  SuspensionTable* const table = std::exchange(table_, nullptr);
  Suspendable* const suspended = table == nullptr ? nullptr : table->Find(key_);
  if (suspended == nullptr) return;
  table->Remove(key_);
  suspended->OnTicketDropped();
}

}  // namespace sluice
