#include "gateway/plugin/chain.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "gateway/base/text.h"
#include "gateway/plugin/registry.h"

namespace sluice {
namespace {

// --- reading a `plugins` map ---------------------------------------------------------------------

struct MetaFields {
  std::optional<bool> disable;
  std::optional<int> priority;
  std::string error_response;
  const conf::Node* filter = nullptr;
  bool shadow = false;
};

// Text, or a map that is sent as JSON.
struct ErrorResponse {
  std::optional<std::string> operator()(const conf::Place& place) const {
    if (place.node.is_map()) return conf::ToJson(place.node) + "\n";
    return conf::Text{.min = 1, .max = 64 * 1024, .lines = true}(place);
  }
};

const conf::Fields<MetaFields>& FieldsOfMeta() {
  using T = MetaFields;
  static const conf::Fields<T> kFields = {
      conf::Bind("disable", &T::disable, conf::Boolean{}),
      conf::Bind("priority", &T::priority, conf::Integer<int>{}),
      conf::Bind("error_response", &T::error_response, ErrorResponse{}),
      conf::Bind("filter", &T::filter, conf::AnyValue{}),
      conf::Bind("mode", &T::shadow, conf::Choice<bool>{{{"enforce", false}, {"shadow", true}}}),
      conf::NotBuilt<T>("pre_function"),
  };
  return kFields;
}

PluginMeta ReadMeta(const conf::Place& plugin, const PluginTraits& traits) {
  PluginMeta meta;
  meta.priority = traits.priority;
  const conf::Node* node = plugin.node.Find("_meta");
  if (node == nullptr) return meta;
  const conf::Place place{*node, plugin.diagnostics, &plugin, "_meta"};
  MetaFields fields;
  if (!conf::ReadFields(place, FieldsOfMeta(), fields)) return meta;
  meta.disabled = fields.disable.value_or(false);
  meta.priority = fields.priority.value_or(traits.priority);
  meta.error_response = std::move(fields.error_response);
  meta.shadow = fields.shadow;
  if (meta.shadow && !traits.enforces) {
    place.Fail("\"mode\": \"shadow\" is for plugins that decide about requests; " +
                   std::string(traits.name) + " decides nothing",
               "\"filter\" chooses the requests for which a plugin runs");
  }
  if (fields.filter == nullptr) return meta;
  const conf::Place filter{*fields.filter, plugin.diagnostics, &place, "filter"};
  meta.filter = Expression::Make(*fields.filter, filter.Path(), plugin.diagnostics);
  if (meta.filter != nullptr && meta.filter->needs_body()) {
    filter.Fail("a filter cannot compare post_arg_ variables: bodies are not read first");
  }
  return meta;
}

bool IsEarlier(const PluginInstance& a, const PluginInstance& b) {
  return a.meta.priority != b.meta.priority ? a.meta.priority > b.meta.priority
                                            : a.kind->traits.name < b.kind->traits.name;
}

void ReadPlugin(const conf::Place& place, std::string_view owner, const PluginSources& sources,
                bool for_consumer, PluginSet& set) {
  const PluginKind* const kind = PluginRegistry::Find(place.key);
  if (kind == nullptr) {
    auto [message, hint] = PluginRegistry::Refuse(place.key);
    return place.Fail(std::move(message), std::move(hint));
  }
  if (!place.node.is_map()) {
    place.Expected("a map");
    return;
  }
  if (for_consumer && kind->traits.authenticates) return;
  PluginInstance instance{.kind = kind,
                          .plugin = nullptr,
                          .meta = ReadMeta(place, kind->traits),
                          .owner = owner,
                          .position = place.node.position};
  const PluginBuild build{
      .place = place,
      .owner = owner,
      .metadata = sources.metadata ? sources.metadata(place.key) : nullptr,
      .credentials = sources.credentials ? sources.credentials(place.key) : nullptr,
      .upstreams = sources.upstreams};
  instance.plugin = kind->make(build);
  if (instance.meta.disabled) instance.plugin = nullptr;
  set.push_back(std::move(instance));
}

// --- chains --------------------------------------------------------------------------------------

// Appends steps to an array in an arena that is large enough for all.
class StepWriter {
 public:
  StepWriter(Arena& arena, size_t most)
      : begin_(arena.AllocateArray<ChainStep>(most)), end_(begin_), part_(begin_) {}

  void Add(std::span<const ChainPlugin> plugins, Phase phase) {
    for (const ChainPlugin& plugin : plugins) {
      if (!plugin.instance->kind->has(phase) || plugin.instance->plugin == nullptr) continue;
      const Plugin& object = *plugin.instance->plugin;
      const bool reads_body = object.request_body_limit() > 0 || object.request_body_wish() > 0;
      *end_++ = {plugin.instance, plugin.cost, phase, reads_body};
    }
  }
  void AddEncoding(std::span<const ChainPlugin> plugins, Phase phase, bool encodes) {
    for (const ChainPlugin& plugin : plugins) {
      if (plugin.instance->kind->traits.encodes == encodes) Add({&plugin, 1}, phase);
    }
  }
  size_t size() const { return static_cast<size_t>(end_ - part_); }
  std::span<const ChainStep> Finish() { return {std::exchange(part_, end_), end_}; }

 private:
  ChainStep* begin_;
  ChainStep* end_;
  ChainStep* part_;
};

// The plugins of each global rule apart.
template <typename Function>
void ForEachRule(std::span<const ChainPlugin> global, Function function) {
  for (size_t begin = 0; begin < global.size();) {
    size_t end = begin;
    while (end < global.size() && global[end].rule == global[begin].rule) ++end;
    function(global.subspan(begin, end - begin));
    begin = end;
  }
}

void AddResponsePhases(Chain& chain, StepWriter& steps) {
  const auto add = [&](Phase phase) {
    steps.Add(chain.global, phase);
    steps.Add(chain.own, phase);
    return steps.Finish();
  };
  chain.before_proxy = add(Phase::kBeforeProxy);
  // What encodes the body is behind all that read or change it.
  const auto add_filters = [&](Phase phase) {
    for (const bool encodes : {false, true}) {
      steps.AddEncoding(chain.global, phase, encodes);
      steps.AddEncoding(chain.own, phase, encodes);
    }
    return steps.Finish();
  };
  chain.header_filter = add_filters(Phase::kHeaderFilter);
  chain.body_filter = add_filters(Phase::kBodyFilter);
  chain.log = add(Phase::kLog);
}

}  // namespace

PluginSet ReadPlugins(const conf::Place& place, std::string_view owner,
                      const PluginSources& sources, bool for_consumer) {
  PluginSet set;
  if (!place.node.is_map()) {
    place.Expected("a map from names of plugins to their configuration");
    return set;
  }
  for (const conf::Entry& entry : place.node.entries) {
    ReadPlugin(place.Of(entry), owner, sources, for_consumer, set);
  }
  std::sort(set.begin(), set.end(), IsEarlier);
  return set;
}

Chain MakeChain(std::span<const ChainPlugin> global, std::span<const ChainPlugin> own,
                Arena& arena) {
  Chain chain;
  chain.global = global;
  chain.own = own;
  StepWriter steps(arena, (global.size() + own.size()) * kPhases);
  ForEachRule(global, [&steps](std::span<const ChainPlugin> rule) {
    steps.Add(rule, Phase::kRewrite);
    steps.Add(rule, Phase::kAccess);
  });
  steps.Add(own, Phase::kRewrite);
  chain.merge_point = steps.size();
  steps.Add(own, Phase::kAccess);
  chain.request = steps.Finish();
  AddResponsePhases(chain, steps);
  for (const auto& plugins : {global, own}) {
    for (const ChainPlugin& plugin : plugins) {
      const Plugin& object = *plugin.instance->plugin;
      chain.request_body_sample = std::max(chain.request_body_sample, object.request_body_sample());
      chain.authenticates = chain.authenticates || plugin.instance->kind->traits.authenticates;
    }
  }
  return chain;
}

Chain JoinConsumer(const Chain& base, std::span<const ChainPlugin> joining, Arena& arena) {
  const auto earlier = [](const ChainPlugin& a, const ChainPlugin& b) {
    return IsEarlier(*a.instance, *b.instance);
  };
  const auto replaced = [&joining](const ChainPlugin& plugin) {
    return std::any_of(joining.begin(), joining.end(), [&plugin](const ChainPlugin& other) {
      return other.instance->kind == plugin.instance->kind;
    });
  };
  auto* const own = arena.AllocateArray<ChainPlugin>(base.own.size() + joining.size());
  auto* end = std::remove_copy_if(base.own.begin(), base.own.end(), own, replaced);
  end = std::copy(joining.begin(), joining.end(), end);
  std::sort(own, end, earlier);

  Chain chain = base;
  chain.own = {own, end};
  for (const ChainPlugin& plugin : joining) {
    const Plugin* const object = plugin.instance->plugin.get();
    if (object == nullptr) continue;
    chain.request_body_sample = std::max(chain.request_body_sample, object->request_body_sample());
  }
  StepWriter steps(arena, (chain.global.size() + chain.own.size() + joining.size()) * kPhases);
  steps.Add(joining, Phase::kRewrite);
  steps.Add(chain.own, Phase::kAccess);
  chain.request = steps.Finish();
  chain.merge_point = SIZE_MAX;
  AddResponsePhases(chain, steps);
  return chain;
}

}  // namespace sluice
