#include "plugins/support/log_batch.h"

#include <algorithm>
#include <utility>

#include "gateway/base/log.h"

namespace sluice::plugins {

void LogBatch::Add(PluginServices& services, std::string line) {
  if (waiting_.size() >= rules_.most_waiting || waiting_bytes_ + line.size() > kMostBytes) {
    return Drop(services, 1, "the log is not taken as fast as it grows");
  }
  last_ = services.now();
  if (waiting_.empty()) first_ = last_;
  waiting_bytes_ += line.size();
  waiting_.push_back(std::move(line));
  if (IsFull()) return Flush(services);
  if (!armed_) Arm(services, std::min(rules_.inactive, rules_.longest));
}

void LogBatch::Arm(PluginServices& services, Duration time) {
  armed_ = true;
  services.After(time, [self = shared_from_this(), &services] { self->OnAlarm(services); });
}

void LogBatch::OnAlarm(PluginServices& services) {
  armed_ = false;
  if (waiting_.empty()) return;
  const MonoTime due = std::min(last_ + rules_.inactive, first_ + rules_.longest);
  const MonoTime now = services.now();
  if (now < due && !services.is_ending()) return Arm(services, due - now);
  Flush(services);
}

void LogBatch::Flush(PluginServices& services) {
  if (!sent_.empty() || waiting_.empty()) return;  // OnDelivered comes here again
  const size_t count = std::min(waiting_.size(), rules_.most_lines);
  const auto end = waiting_.begin() + static_cast<ptrdiff_t>(count);
  sent_.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  for (const std::string& line : sent_) waiting_bytes_ -= line.size();
  first_ = last_;
  tries_ = 0;
  Send(services);
}

void LogBatch::Send(PluginServices& services) {
  Deliver(services, sent_, [self = shared_from_this(), &services](const Status& status) {
    self->OnDelivered(services, status);
  });
}

void LogBatch::OnDelivered(PluginServices& services, const Status& status) {
  if (!status.has_value() && tries_ < rules_.retries && !services.is_ending()) {
    ++tries_;
    services.After(rules_.retry_delay,
                   [self = shared_from_this(), &services] { self->Send(services); });
    return;
  }
  if (!status.has_value()) Drop(services, sent_.size(), status.error().detail);
  sent_.clear();
  if (waiting_.empty()) return OnIdle();
  if (IsFull() || services.is_ending()) return Flush(services);
  if (!armed_) Arm(services, std::min(rules_.inactive, rules_.longest));
}

void LogBatch::Drop(PluginServices& services, size_t lines, std::string_view why) {
  dropped_ += lines;
  dropped_unsaid_ += lines;
  const MonoTime now = services.now();
  if (said_ != MonoTime() && now < said_ + kQuiet && !services.is_ending()) return;
  said_ = now;
  Log(LogLevel::kError, "log lines are lost",
      {{"logger", name_}, {"lines", std::exchange(dropped_unsaid_, 0)}, {"reason", why}});
}

}  // namespace sluice::plugins
