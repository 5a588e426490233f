// All resources compiled into one immutable object. Built off the loop thread by every process that
// needs it (workers to serve, the controller to rehearse, the command line to explain). An exchange
// pins the snapshot that it started with; the last pin frees it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "conf/diagnostics.h"
#include "conf/resources.h"
#include "gateway/routing/hash_key.h"
#include "gateway/routing/router.h"
#include "gateway/snapshot/plugin_chains.h"

namespace sluice {

class Snapshot {
 public:
  // Null when `diagnostics` was added to.
  static std::shared_ptr<const Snapshot> Make(std::shared_ptr<const conf::Config> config,
                                              uint64_t revision, conf::Diagnostics& diagnostics);

  const conf::Config& config() const { return *config_; }
  const conf::GatewayConfig& gateway() const { return config_->gateway; }
  const Router& router() const { return *router_; }
  const PluginChains& plugins() const { return *plugins_; }
  // Null: no plugin applies to that route of this snapshot.
  const Chain* chain(const conf::RouteConfig& route) const {
    return plugins_->OfRoute(IndexOf(route));
  }
  // Precondition: a route of this snapshot.
  size_t IndexOf(const conf::RouteConfig& route) const {
    return static_cast<size_t>(&route - config_->routes.data());
  }
  // What the upstream of that index hashes; null: nothing.
  const HashKey* hash_key(size_t upstream) const {
    const auto& key = hash_keys_[upstream];
    return key ? &*key : nullptr;
  }
  uint64_t revision() const { return revision_; }

 private:
  Snapshot() = default;

  std::shared_ptr<const conf::Config> config_;
  std::unique_ptr<const Router> router_;
  std::unique_ptr<const PluginChains> plugins_;
  std::vector<std::optional<HashKey>> hash_keys_;  // by upstream
  uint64_t revision_ = 0;
};

}  // namespace sluice
