// What a worker does for its plugins, so that they need no sockets, no timers and no clock of their
// own. Implemented by gateway/proxy; one for each worker, outlives all plugins and requests. Used
// on the loop thread.
#pragma once

#include <cstdint>
#include <functional>

#include "gateway/base/time.h"

namespace sluice {

class SharedLimits;

class PluginServices {
 public:
  virtual MonoTime now() const = 0;  // of this turn of the loop, to the millisecond
  virtual uint64_t Random() = 0;
  virtual uint32_t worker_index() const = 0;
  virtual SharedLimits& limits() = 0;  // of the host

  // Runs `work` on a pool thread (hashing a password: whatever takes longer than 100 us), then
  // `done` on the loop thread, where a ticket may be resumed. `work` must touch nothing that
  // requests touch.
  virtual void RunOffLoop(std::function<void()> work, std::function<void()> done) = 0;

  // Calls `action` once on the loop thread, after that time; sooner when the worker ends, which
  // waits for what is done off the loop and for requests of plugins then.
  virtual void After(Duration time, std::function<void()> action) = 0;
  virtual bool is_ending() const = 0;

 protected:
  ~PluginServices() = default;
};

}  // namespace sluice
