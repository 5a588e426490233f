#include "gateway/proxy/plugin_services.h"

#include "gateway/proxy/proxy_context.h"

namespace sluice {

MonoTime WorkerServices::now() const { return context_.loop.now(); }

uint64_t WorkerServices::Random() { return context_.NextRequestId().low; }

uint32_t WorkerServices::worker_index() const { return context_.worker_index; }

SharedLimits& WorkerServices::limits() { return *context_.limits; }

void WorkerServices::RunOffLoop(std::function<void()> work, std::function<void()> done) {
  context_.loop.RunOffLoop(std::move(work), std::move(done));
}

}  // namespace sluice
