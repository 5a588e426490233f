// When a role that died is started again: at once, until it keeps dying. Five deaths in a minute
// begin a back-off of 1 s, doubled by each further short life up to a minute; a life of a minute
// ends it. Pure: the caller brings the time. Owned by master, one for each role.
#pragma once

#include <deque>

#include "gateway/base/time.h"

namespace sluice {

class RestartPolicy {
 public:
  static constexpr size_t kDeaths = 5;
  static constexpr Duration kWindow = seconds(60);
  static constexpr Duration kMaxDelay = seconds(60);

  void OnStarted(MonoTime now) { started_ = now; }
  // How long to wait before the next start.
  Duration OnDied(MonoTime now);

 private:
  MonoTime started_{};
  std::deque<MonoTime> deaths_;  // of the last window, at most kDeaths
  int level_ = 0;                // of the back-off; 0: none
};

}  // namespace sluice
