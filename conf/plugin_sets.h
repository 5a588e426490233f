// The `plugins` of objects, as they stand in the document: the snapshot reads them, which knows the
// plugins. Part of Config; names of objects are stable identities, as in UpstreamConfig::key.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "conf/config_tree.h"

namespace sluice::conf {

struct PluginSetConfig {
  std::string owner;           // "route/r1"
  std::string path;            // "routes[0].plugins"
  const Node* node = nullptr;  // a map, in Config::document
};

// Indexes are of Config::plugin_sets; -1: none.
struct GlobalRuleConfig {
  std::string id;
  int32_t plugins = -1;
};

// What a consumer is known by, beside what stands in its own plugins.
struct CredentialConfig {
  std::string id;
  int32_t plugins = -1;  // one, which authenticates
};

struct ConsumerConfig {
  std::string username;
  std::string group_id;  // empty: none
  std::vector<std::pair<std::string, std::string>> labels;
  int32_t plugins = -1;
  int32_t group_plugins = -1;
  std::vector<CredentialConfig> credentials;
  Position position;
};

struct PluginsConfig {
  std::vector<PluginSetConfig> sets;
  std::vector<GlobalRuleConfig> global_rules;
  std::vector<ConsumerConfig> consumers;
  const Node* metadata = nullptr;  // a list of maps with names of plugins as "id"; null: none
};

}  // namespace sluice::conf
