// The part of the decoder that collects the `plugins` of all objects, and what refers to them.
// Internal to conf/.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "conf/decode.h"
#include "conf/id_table.h"

namespace sluice::conf {

class PluginDecoder {
 public:
  PluginDecoder(Config& config, Diagnostics& diagnostics)
      : config_(config),
        plugin_config_ids_("plugin_configs", diagnostics),
        group_ids_("consumer_groups", diagnostics),
        rule_ids_("global_rules", diagnostics),
        credential_ids_("consumers", diagnostics) {}

  // Called for each configured plugin.
  std::function<void(const Place& plugin, const std::string& owner)> on_plugin;

  // The sections that are only about plugins.
  void Run(const Place& root);

  // The index of the set that `object` has as `plugins`; -1: none.
  int32_t Add(const Place& object, const Node* plugins, std::string owner);
  // The sets that apply to a route, the nearest first.
  std::vector<int32_t> OfRoute(const Place& place, const RouteDraft& draft,
                               int32_t service_plugins);

 private:
  void AddPluginConfig(const Place& place);
  void AddGroup(const Place& place);
  void AddGlobalRule(const Place& place);
  void AddConsumer(const Place& place);
  void AddCredential(const Place& place);
  void ReadMetadata(const Place& root);

  Config& config_;
  IdTable plugin_config_ids_, group_ids_, rule_ids_, credential_ids_;
  struct KnownConsumer {
    size_t index;  // in Config::plugins.consumers
    Position position;
  };
  std::unordered_map<std::string, KnownConsumer> usernames_;
};

}  // namespace sluice::conf
