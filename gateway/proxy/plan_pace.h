// When the next plan of an upstream's endpoints may be made. To take one over costs the loop's
// time, and names may change as often as they like. Part of an UpstreamState; knows no clock.
#pragma once

#include <algorithm>

#include "gateway/base/time.h"

namespace sluice {

class PlanPace {
 public:
  // Taking plans over may cost one part in so many of the loop's time.
  static constexpr int kShare = 50;

  // A plan was taken over at `now`, which took so long.
  void OnAdopted(MonoTime now, Duration took) { next_ = now + took * kShare; }
  // How long the next one has to wait; zero: it may be made at once.
  Duration Wait(MonoTime now) const { return std::max(next_ - now, Duration::zero()); }

 private:
  MonoTime next_{};
};

}  // namespace sluice
