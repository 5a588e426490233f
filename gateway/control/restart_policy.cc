#include "gateway/control/restart_policy.h"

#include <algorithm>

namespace sluice {

Duration RestartPolicy::OnDied(MonoTime now) {
  deaths_.push_back(now);
  while (deaths_.size() > kDeaths || now - deaths_.front() > kWindow) deaths_.pop_front();
  if (now - started_ >= kWindow) {
    level_ = 0;
  } else if (level_ > 0 || deaths_.size() >= kDeaths) {
    ++level_;  // also when the back-off itself keeps the deaths more than a window apart
  }
  if (level_ == 0) return Duration::zero();
  return std::min<Duration>(seconds(1) * (int64_t{1} << std::min(level_ - 1, 10)), kMaxDelay);
}

}  // namespace sluice
