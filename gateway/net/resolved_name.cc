#include "gateway/net/resolved_name.h"

#include <algorithm>
#include <utility>

#include "gateway/base/log.h"

namespace sluice {

ResolvedName::ResolvedName(Loop& loop, Resolver& resolver, std::string name,
                           std::function<void()> on_change, Backoff backoff)
    : loop_(loop),
      resolver_(resolver),
      name_(std::move(name)),
      on_change_(std::move(on_change)),
      backoff_(backoff),
      pause_(backoff.first),
      next_(loop.deadlines(), *this),
      random_(static_cast<uint32_t>(MonoNow().time_since_epoch().count())) {
  Ask();
}

ResolvedName::~ResolvedName() { resolver_.Cancel(lookup_); }

void ResolvedName::Ask() {
  lookup_ = resolver_.Resolve(
      name_, [this](Result<Resolver::Answer> answer) { OnAnswer(std::move(answer)); });
}

void ResolvedName::OnAnswer(Result<Resolver::Answer> answer) {
  bool changed = false;
  if (answer) {
    changed = error_.has_value() || answer->addresses != addresses_;
    error_.reset();
    addresses_ = std::move(answer->addresses);
    pause_ = backoff_.first;
    next_.Set(loop_.now() + answer->ttl);
  } else {
    changed = !error_.has_value();
    error_ = std::move(answer).error();
    next_.Set(loop_.now() + NextPause());
  }
  if (!changed) return;
  LogChange();
  const std::function<void()> on_change = on_change_;  // it may destroy this object
  on_change();
}

void ResolvedName::LogChange() const {
  if (error_) {
    Log(LogLevel::kWarn, "name does not resolve",
        {{"name", name_}, {"error", error_->detail}, {"addresses_kept", addresses_.size()}});
  } else {
    Log(LogLevel::kInfo, "name resolved", {{"name", name_}, {"addresses", addresses_.size()}});
  }
}

Duration ResolvedName::NextPause() {
  const Duration pause = pause_;
  pause_ = std::min(pause_ * 2, backoff_.longest);
  std::uniform_real_distribution<double> factor(0.75, 1.25);
  return std::chrono::duration_cast<Duration>(pause * factor(random_));
}

}  // namespace sluice
