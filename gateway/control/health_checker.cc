#include "gateway/control/health_checker.h"

#include <algorithm>
#include <utility>

#include "gateway/base/log.h"

namespace sluice {

bool HasHttpsChecks(const conf::Config& config) {
  return std::any_of(config.upstreams.begin(), config.upstreams.end(), [](const auto& upstream) {
    return upstream.checks && upstream.checks->active.type == conf::CheckType::kHttps;
  });
}

HealthChecker::HealthChecker(Loop& loop, std::shared_ptr<EndpointTable> table)
    : loop_(loop),
      table_(std::move(table)),
      probes_(std::make_shared<ProbeSet>(loop)),
      random_(std::random_device()()) {}

void HealthChecker::Adopt(const conf::Config& config, const TlsResources* tls) {
  auto previous = std::exchange(upstreams_, {});
  for (size_t i = 0; i < config.upstreams.size(); ++i) {
    const conf::UpstreamConfig& upstream = config.upstreams[i];
    if (!upstream.checks) continue;
    auto& checked = upstreams_[upstream.key];
    if (const auto same = previous.find(upstream.key); same != previous.end()) {
      checked = std::move(same->second);
      previous.erase(same);
    } else {
      checked = std::make_unique<CheckedUpstream>(*this, upstream.key);
    }
    checked->Update(upstream, tls == nullptr ? nullptr : tls->probe(i));
  }
  for (const auto& [key, gone] : previous) gone->Forget();
  previous.clear();
  StartProbes();  // probes that were cancelled have given their places back
}

Resolver* HealthChecker::resolver(const conf::UpstreamConfig& config) {
  const bool needed = std::any_of(config.nodes.begin(), config.nodes.end(),
                                  [](const auto& node) { return !LiteralAddress(node); });
  if (!needed || resolver_ != nullptr) return resolver_.get();
  auto made = Resolver::Make(loop_);
  if (made.has_value()) {
    resolver_ = std::move(*made);
  } else {
    Log(LogLevel::kError, "names of nodes cannot be resolved for checks",
        {{"detail", made.error().detail}});
  }
  return resolver_.get();
}

double HealthChecker::Random() { return std::uniform_real_distribution<double>()(random_); }

void HealthChecker::OnDue(CheckedUpstream& upstream) {
  if (!upstream.is_linked() && upstream.has_work()) ready_.PushBack(upstream);
  StartProbes();
}

void HealthChecker::OnProbeDone(CheckedUpstream& upstream) {
  --running_;
  OnDue(upstream);
}

void HealthChecker::StartProbes() {
  while (running_ < kMostProbes) {
    CheckedUpstream* const upstream = ready_.PopFront();
    if (upstream == nullptr) return;
    if (!upstream->has_work()) continue;
    ++running_;
    upstream->StartOne();
    if (upstream->has_work()) ready_.PushBack(*upstream);
  }
}

}  // namespace sluice
