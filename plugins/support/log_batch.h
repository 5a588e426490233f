// Lines that leave a worker in batches: collected for a while, delivered one batch at a time, again
// if that fails, and dropped, counted and said when there are too many. One for each configured
// logger and worker; outlives its plugin until everything is delivered. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/plugin/services.h"

namespace sluice::plugins {

struct LogBatchRules {
  size_t most_lines = 1000;        // of a batch, which goes too when it has kFullBytes
  Duration inactive = seconds(5);  // a batch goes when no line has come for so long,
  Duration longest = seconds(60);  // and when its first line is so old
  uint32_t retries = 0;
  Duration retry_delay = seconds(1);
  size_t most_waiting = 8192;  // lines that are not on their way; more are dropped
};

class LogBatch : public std::enable_shared_from_this<LogBatch> {
 public:
  using Lines = std::vector<std::string>;
  using Done = std::function<void(const Status& status)>;

  // `name` is for the log: "route/r1 http-logger".
  LogBatch(std::string name, const LogBatchRules& rules) : name_(std::move(name)), rules_(rules) {}
  virtual ~LogBatch() = default;

  void Add(PluginServices& services, std::string line);
  uint64_t dropped() const { return dropped_; }

 protected:
  // Delivers a batch and calls `done` once, later. `lines` live until then.
  virtual void Deliver(PluginServices& services, const Lines& lines, Done done) = 0;

  // Everything is delivered.
  virtual void OnIdle() {}

 private:
  static constexpr size_t kFullBytes = 4 * 1024 * 1024;
  static constexpr size_t kMostBytes = 32 * 1024 * 1024;  // of lines that wait
  static constexpr Duration kQuiet = seconds(10);         // between two complaints

  bool IsFull() const {
    return waiting_.size() >= rules_.most_lines || waiting_bytes_ >= kFullBytes;
  }
  void Arm(PluginServices& services, Duration time);
  void OnAlarm(PluginServices& services);
  void Flush(PluginServices& services);
  void Send(PluginServices& services);
  void OnDelivered(PluginServices& services, const Status& status);
  void Drop(PluginServices& services, size_t lines, std::string_view why);

  const std::string name_;
  const LogBatchRules rules_;
  Lines waiting_;
  size_t waiting_bytes_ = 0;
  MonoTime first_{};  // of waiting_
  MonoTime last_{};
  bool armed_ = false;
  Lines sent_;  // the batch on its way
  uint32_t tries_ = 0;
  uint64_t dropped_ = 0;
  uint64_t dropped_unsaid_ = 0;
  MonoTime said_{};
};

}  // namespace sluice::plugins
