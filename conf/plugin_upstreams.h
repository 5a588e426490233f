// Upstreams that stand in the configuration of a plugin, as in traffic-split: they are resources
// like all others, with checks, pools and a stable identity. conf/ knows no plugins; one that has
// upstreams says where they are when it registers itself.
#pragma once

#include <string_view>

#include "conf/schema.h"

namespace sluice::conf {

struct UpstreamConfig;

// Takes the upstreams of one configured plugin. What is wrong with them is said at their place.
class UpstreamSink {
 public:
  // APISIX's upstream object stands at that node.
  virtual void AddInline(const Place& upstream) = 0;
  // The id of an upstream stands there.
  virtual void AddReference(const Place& id) = 0;
  // What stands there (the URL of a service) means this upstream.
  virtual void Add(const Place& place, UpstreamConfig upstream) = 0;

 protected:
  ~UpstreamSink() = default;
};

// Finds the upstreams in a plugin's configuration, which is not checked yet: whatever has an
// unexpected form is left to the plugin.
using FindUpstreams = void (*)(const Place& plugin, UpstreamSink& sink);

// By registration before main. `plugin` lives as long as the process.
void RegisterPluginUpstreams(std::string_view plugin, FindUpstreams find);
FindUpstreams FindPluginUpstreams(std::string_view plugin);  // null: it has none

}  // namespace sluice::conf
