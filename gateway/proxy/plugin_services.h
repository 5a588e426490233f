// The services of one worker for its plugins. Part of its ProxyContext.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "gateway/plugin/services.h"

namespace sluice {

class ProxyContext;

class WorkerServices final : public PluginServices {
 public:
  explicit WorkerServices(ProxyContext& context) : context_(context) {}

  MonoTime now() const override;
  uint64_t Random() override;
  uint32_t worker_index() const override;
  SharedLimits& limits() override;
  void RunOffLoop(std::function<void()> work, std::function<void()> done) override;

 private:
  ProxyContext& context_;
};

}  // namespace sluice
