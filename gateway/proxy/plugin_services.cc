#include "gateway/proxy/plugin_services.h"

#include <vector>

#include "gateway/net/watchers.h"
#include "gateway/proxy/proxy_context.h"

namespace sluice {

struct WorkerServices::Alarm {
  Alarm(Loop& loop, std::function<void()> when_due) : timer(loop), action(std::move(when_due)) {}

  Timer timer;
  std::function<void()> action;
};

WorkerServices::WorkerServices(ProxyContext& context) : context_(context) {}

WorkerServices::~WorkerServices() = default;

MonoTime WorkerServices::now() const { return context_.loop.now(); }

uint64_t WorkerServices::Random() { return context_.NextRequestId().low; }

uint32_t WorkerServices::worker_index() const { return context_.worker_index; }

SharedLimits& WorkerServices::limits() { return *context_.limits; }

void WorkerServices::RunOffLoop(std::function<void()> work, std::function<void()> done) {
  ++off_loop_;
  context_.loop.RunOffLoop(std::move(work), [this, done = std::move(done)] {
    --off_loop_;
    done();
    if (ending_ && off_loop_ == 0) context_.on_connection_closed();
  });
}

void WorkerServices::After(Duration time, std::function<void()> action) {
  const uint64_t number = ++alarms_made_;
  auto alarm = std::make_unique<Alarm>(context_.loop, std::move(action));
  alarm->timer.Start(ending_ ? Duration::zero() : time, [this, number] { Fire(number); });
  alarms_.emplace(number, std::move(alarm));
}

void WorkerServices::Fire(uint64_t number) {
  const auto found = alarms_.find(number);
  if (found == alarms_.end()) return;
  const std::function<void()> action = std::move(found->second->action);
  // Not its timer in that timer's own callback.
  context_.loop.Post([this, number] { alarms_.erase(number); });
  if (action) action();
}

void WorkerServices::End() {
  if (std::exchange(ending_, true)) return;
  std::vector<uint64_t> waiting;
  for (const auto& [number, alarm] : alarms_) waiting.push_back(number);
  for (const uint64_t number : waiting) Fire(number);
}

}  // namespace sluice
