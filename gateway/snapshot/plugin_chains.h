// All plugins of a configuration as objects, the chain of each route, and the consumers. Made by
// the snapshot, which owns it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/diagnostics.h"
#include "conf/resources.h"
#include "gateway/base/arena.h"
#include "gateway/plugin/chain.h"
#include "gateway/plugin/consumer.h"

namespace sluice {

class PluginChains {
 public:
  // Of whom a cost is counted: the place of a cell in Costs().
  struct CostName {
    std::string_view route;  // its id; of a consumer's plugin "consumer/jack"; empty: no route
    std::string_view plugin;
  };

  // `config` outlives it. Null when `diagnostics` was added to.
  static std::unique_ptr<const PluginChains> Make(const conf::Config& config,
                                                  conf::Diagnostics& diagnostics);

  ~PluginChains();
  PluginChains(const PluginChains&) = delete;
  PluginChains& operator=(const PluginChains&) = delete;

  // Null: no plugin applies.
  const Chain* OfRoute(size_t route) const {
    return of_routes_.empty() ? nullptr : of_routes_[route];
  }
  const Chain* without_route() const { return without_route_; }
  // Whether a plugin asks for series of that route's own, and for which requests.
  struct SeriesRequest {
    const RouteSeries* series = nullptr;  // null: none does
    const Expression* filter = nullptr;   // `_meta.filter` of the plugin; null: all requests
  };
  SeriesRequest SeriesOfRoute(size_t route) const {
    return series_.empty() ? SeriesRequest() : series_[route];
  }
  const std::vector<CostName>& costs() const { return costs_; }
  const std::deque<Consumer>& consumers() const { return consumers_; }

 private:
  class Credentials;

  PluginChains();
  void ReadConsumers(const conf::Config& config, conf::Diagnostics& diagnostics);
  void ReadCredentials(const conf::PluginSetConfig& set, const Consumer& consumer,
                       std::string_view id, conf::Diagnostics& diagnostics);
  void CheckMetadata(const conf::Config& config, conf::Diagnostics& diagnostics) const;
  void ReadSets(const conf::Config& config, conf::Diagnostics& diagnostics);
  void JoinConsumers(const conf::Config& config);
  void LinkRoutes(const conf::Config& config);
  void AddSet(int32_t set, std::string_view route, uint16_t rule, std::vector<ChainPlugin>& to);
  const Chain* Link(std::string_view route, const std::vector<int32_t>& sets,
                    SeriesRequest& series);
  const CredentialIndex* CredentialsOf(std::string_view plugin);

  std::deque<PluginSet> sets_;
  std::vector<const conf::GlobalRuleConfig*> rules_;
  std::vector<const Chain*> of_routes_;  // empty: no route has any
  std::vector<SeriesRequest> series_;    // the same
  const Chain* without_route_ = nullptr;
  std::deque<Chain> chains_;
  std::deque<Consumer> consumers_;
  std::unordered_map<std::string_view, const Consumer*> consumers_by_name_;
  std::unordered_map<std::string, std::unique_ptr<Credentials>> credentials_;  // by plugin
  std::vector<CostName> costs_;
  Arena arena_{16 * 1024};
};

}  // namespace sluice
