// The right to let one suspended request go on. Move-only, for one use: whoever finishes the work
// calls Resume; a ticket that is dropped without counts as a failure of the plugin. It refers to
// its request by number, so it does no harm when the request is over: then Resume does nothing.
// Used on the worker's loop thread only; work elsewhere ends there by PluginServices::RunOffLoop.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "gateway/plugin/verdict.h"

namespace sluice {

class RequestContext;

// What a ticket resumes: a chain at work on a request.
class Suspendable {
 public:
  virtual void OnResume(Verdict verdict) = 0;
  virtual void OnTicketDropped() = 0;
  virtual RequestContext& suspended_request() = 0;

 protected:
  ~Suspendable() = default;
};

// The suspended requests of one worker, which owns it; outlives all tickets.
class SuspensionTable {
 public:
  struct Key {
    uint32_t slot = 0;
    uint32_t generation = 0;  // 0: of nothing
  };

  Key Add(Suspendable& suspended);
  // Whoever still has the key has nothing any more.
  void Remove(Key key);
  Suspendable* Find(Key key) const;  // null: it is over

 private:
  struct Slot {
    Suspendable* suspended = nullptr;
    uint32_t generation = 1;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

class Ticket {
 public:
  Ticket() = default;  // of nothing
  Ticket(SuspensionTable& table, SuspensionTable::Key key) : table_(&table), key_(key) {}
  ~Ticket() { Drop(); }
  Ticket(Ticket&& other) noexcept
      : table_(std::exchange(other.table_, nullptr)), key_(other.key_) {}
  Ticket& operator=(Ticket&& other) noexcept {
    if (this == &other) return *this;
    Drop();
    table_ = std::exchange(other.table_, nullptr);
    key_ = other.key_;
    return *this;
  }

  // Null: the request is over (the client has gone, the limit has passed). Otherwise valid until
  // Resume or the end of the callback.
  RequestContext* request() const;

  // Lets the request go on with this verdict: kContinue, or what the request's Reply or Fail
  // returned. The request may end before this returns. Nothing if it is over already.
  void Resume(Verdict verdict);

 private:
  void Drop();

  SuspensionTable* table_ = nullptr;  // null: used, or of nothing
  SuspensionTable::Key key_;
};

}  // namespace sluice
