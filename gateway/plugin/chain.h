// The plugins that apply to a route, compiled: for each phase the steps in their order. A chain is
// an index over plugin objects that the snapshot owns; nothing of it changes while requests run.
//
//   request   global rule 1: rewrite, access · rule 2 … · own: rewrite │ own: access
//                                                                  merge_point: here a consumer's
//   others    global rule 1 · rule 2 … · own                       plugins join
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "conf/schema.h"
#include "gateway/base/arena.h"
#include "gateway/plugin/plugin.h"
#include "gateway/routing/expression.h"

namespace sluice {

// The member `_meta` of a plugin's configuration.
struct PluginMeta {
  bool disabled = false;
  int priority = 0;
  std::unique_ptr<const Expression> filter;  // null: runs for every request
  std::string error_response;                // body of its replies from 400; empty: its own
  bool shadow = false;                       // its verdicts are counted, not followed
};

// A plugin as one object configures it.
struct PluginInstance {
  const PluginKind* kind = nullptr;
  std::unique_ptr<const Plugin> plugin;  // null: `_meta.disable`
  PluginMeta meta;
  std::string_view owner;  // "route/r1"
  conf::Position position;
};

// An instance in a chain, and where its cost is counted there.
struct ChainPlugin {
  const PluginInstance* instance = nullptr;
  uint32_t cost = 0;
  uint16_t rule = 0;  // which global rule; 0: none
};

struct ChainStep {
  const PluginInstance* instance = nullptr;
  uint32_t cost = 0;
  Phase phase = Phase::kRewrite;
  bool reads_body = false;  // of the request, if it can have it
};

// Views of what its maker keeps.
struct Chain {
  std::string_view route_id;
  std::span<const ChainPlugin> global;  // by rule, then priority
  std::span<const ChainPlugin> own;     // by priority
  std::span<const ChainStep> request;
  size_t merge_point = 0;  // index in `request`
  std::span<const ChainStep> before_proxy;
  std::span<const ChainStep> header_filter;
  std::span<const ChainStep> body_filter;
  std::span<const ChainStep> log;
  uint64_t request_body_sample = 0;
  bool authenticates = false;  // a plugin says who sends the request
};

// The chain of these plugins, in order already; steps lie in `arena`, next to nothing else is kept
// but what is given.
Chain MakeChain(std::span<const ChainPlugin> global, std::span<const ChainPlugin> own,
                Arena& arena);

// `base` with a consumer's plugins, which take the place of those of the same name. The new chain's
// requests begin behind the merge point: with the phase rewrite of what has joined.
Chain JoinConsumer(const Chain& base, std::span<const ChainPlugin> joining, Arena& arena);

// The plugins of one object by name, as its `plugins` has them.
using PluginSet = std::vector<PluginInstance>;

// What instances are made with, besides their own configuration.
struct PluginSources {
  // By name of the plugin; null: none.
  std::function<const conf::Node*(std::string_view plugin)> metadata = {};
  std::function<const CredentialIndex*(std::string_view plugin)> credentials = {};
  const std::unordered_map<const conf::Node*, int32_t>* upstreams = nullptr;
};

// Reads a `plugins` map. What is wrong is said by `place`. With `for_consumer`, plugins that
// authenticate are left out: they are credentials.
PluginSet ReadPlugins(const conf::Place& place, std::string_view owner,
                      const PluginSources& sources, bool for_consumer);

}  // namespace sluice
