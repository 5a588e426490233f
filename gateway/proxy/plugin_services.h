// The services of one worker for its plugins. Part of its ProxyContext.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "gateway/plugin/services.h"

namespace sluice {

class ProxyContext;

class WorkerServices final : public PluginServices {
 public:
  explicit WorkerServices(ProxyContext& context);
  ~WorkerServices();

  MonoTime now() const override;
  uint64_t Random() override;
  uint32_t worker_index() const override;
  SharedLimits& limits() override;
  void RunOffLoop(std::function<void()> work, std::function<void()> done) override;
  void After(Duration time, std::function<void()> action) override;
  bool is_ending() const override { return ending_; }

  // The last client has gone: what waits for its time is done now. ProxyContext's
  // on_connection_closed tells when is_busy() may have changed.
  void End();
  bool is_busy() const { return off_loop_ > 0; }

 private:
  struct Alarm;

  void Fire(uint64_t number);

  ProxyContext& context_;
  bool ending_ = false;
  uint32_t off_loop_ = 0;
  uint64_t alarms_made_ = 0;
  std::map<uint64_t, std::unique_ptr<Alarm>> alarms_;  // by number
};

}  // namespace sluice
