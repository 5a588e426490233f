// Turns a loop until something has come true.
#pragma once

#include <functional>

#include "gateway/net/loop.h"
#include "gateway/net/watchers.h"

namespace sluice {

// False when it does not come true within a minute: a failure, not a hang.
inline bool RunUntil(Loop& loop, const std::function<bool()>& done) {
  Timer poll(loop);
  Timer limit(loop);
  bool timed_out = false;
  poll.StartRepeating(milliseconds(1), [&] {
    if (done()) loop.Stop();
  });
  limit.Start(seconds(60), [&] {
    timed_out = true;
    loop.Stop();
  });
  loop.Run();
  return !timed_out;
}

}  // namespace sluice
