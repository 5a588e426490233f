#include "gateway/snapshot/plugin_chains.h"

#include <algorithm>
#include <utility>

#include "gateway/plugin/registry.h"

namespace sluice {
namespace {

const conf::Node* FindMetadata(const conf::Config& config, std::string_view plugin) {
  if (config.plugins.metadata == nullptr) return nullptr;
  for (const conf::Node& item : config.plugins.metadata->items) {
    const conf::Node* const id = item.Find("id");
    if (id != nullptr && id->text == plugin) return &item;
  }
  return nullptr;
}

template <typename T>
std::span<const T> CopyTo(Arena& arena, const std::vector<T>& items) {
  T* const copy = arena.AllocateArray<T>(items.size());
  std::copy(items.begin(), items.end(), copy);
  return {copy, items.size()};
}

bool IsEarlier(const ChainPlugin& a, const ChainPlugin& b) {
  if (a.instance->meta.priority != b.instance->meta.priority) {
    return a.instance->meta.priority > b.instance->meta.priority;
  }
  return a.instance->kind->traits.name < b.instance->kind->traits.name;
}

bool HasNoPhase(const std::vector<ChainPlugin>& plugins) {
  return std::all_of(plugins.begin(), plugins.end(),
                     [](const ChainPlugin& plugin) { return plugin.instance->kind->phases == 0; });
}

}  // namespace

// The credentials for one plugin.
class PluginChains::Credentials final : public CredentialIndex {
 public:
  explicit Credentials(const PluginChains& chains) : chains_(chains) {}

  // `place`: where it stands.
  void Add(std::unique_ptr<Credential> credential, const conf::Place& place) {
    const Hash128 hash = HashOf(credential->key);
    std::string().swap(credential->key);
    const auto [at, added] =
        by_key_.emplace(hash, Known{std::move(credential), place.node.position});
    if (added) return all_.push_back(at->second.credential.get());
    place.Fail("another consumer or credential has the same key; each needs its own",
               "the first is at " + place.diagnostics.Locate(at->second.position));
  }
  const Credential* Find(const Hash128& key_hash) const override {
    const auto found = by_key_.find(key_hash);
    return found == by_key_.end() ? nullptr : found->second.credential.get();
  }
  const Credential* Sample(const Hash128& hash) const override {
    return all_.empty() ? nullptr : all_[hash.high % all_.size()];
  }
  const Consumer* FindConsumer(std::string_view name) const override {
    const auto found = chains_.consumers_by_name_.find(name);
    return found == chains_.consumers_by_name_.end() ? nullptr : found->second;
  }

 private:
  struct Known {
    std::unique_ptr<Credential> credential;
    conf::Position position;
  };
  struct LowHalf {
    size_t operator()(const Hash128& hash) const { return static_cast<size_t>(hash.low); }
  };

  const PluginChains& chains_;
  std::unordered_map<Hash128, Known, LowHalf> by_key_;
  std::vector<const Credential*> all_;  // in the order of the configuration
};

PluginChains::PluginChains() = default;
PluginChains::~PluginChains() = default;

std::unique_ptr<const PluginChains> PluginChains::Make(const conf::Config& config,
                                                       conf::Diagnostics& diagnostics) {
  const size_t before = diagnostics.total();
  std::unique_ptr<PluginChains> chains(new PluginChains());
  chains->ReadConsumers(config, diagnostics);
  chains->CheckMetadata(config, diagnostics);
  chains->ReadSets(config, diagnostics);
  if (diagnostics.total() != before) return nullptr;
  chains->JoinConsumers(config);
  chains->LinkRoutes(config);
  return chains;
}

// --- consumers -----------------------------------------------------------------------------------

void PluginChains::ReadConsumers(const conf::Config& config, conf::Diagnostics& diagnostics) {
  for (const conf::ConsumerConfig& from : config.plugins.consumers) {
    Consumer& consumer = consumers_.emplace_back();
    consumer.username = from.username;
    consumer.group_id = from.group_id;
    consumer.labels = from.labels;
    for (const auto& [name, value] : from.labels) {
      if (name == "custom_id") consumer.custom_id = value;
    }
    consumers_by_name_.emplace(consumer.username, &consumer);
    const auto set_of = [&config](int32_t index) -> const conf::PluginSetConfig& {
      return config.plugins.sets[static_cast<size_t>(index)];
    };
    if (from.plugins >= 0) ReadCredentials(set_of(from.plugins), consumer, {}, diagnostics);
    for (const conf::CredentialConfig& credential : from.credentials) {
      ReadCredentials(set_of(credential.plugins), consumer, credential.id, diagnostics);
    }
  }
}

// `id`: of the credential object that has the set; empty: the consumer has it.
void PluginChains::ReadCredentials(const conf::PluginSetConfig& set, const Consumer& consumer,
                                   std::string_view id, conf::Diagnostics& diagnostics) {
  const conf::Place place{*set.node, diagnostics, nullptr, set.path};
  for (const conf::Entry& entry : set.node->entries) {
    const PluginKind* const kind = PluginRegistry::Find(entry.key);
    if (kind == nullptr) continue;  // ReadPlugins says it
    const conf::Place inner = place.Of(entry);
    if (!kind->traits.authenticates) {
      if (!id.empty()) inner.Fail("expected a plugin that authenticates in a credential");
      continue;
    }
    if (kind->make_credential == nullptr) {
      inner.Fail("expected a plugin that identifies consumers by what is written here");
      continue;
    }
    std::unique_ptr<Credential> credential = kind->make_credential(inner);
    if (credential == nullptr) continue;
    credential->consumer = &consumer;
    credential->id = id;
    auto& index = credentials_[entry.key];
    if (index == nullptr) index = std::make_unique<Credentials>(*this);
    index->Add(std::move(credential), inner);
  }
}

const CredentialIndex* PluginChains::CredentialsOf(std::string_view plugin) {
  auto& index = credentials_[std::string(plugin)];
  if (index == nullptr) index = std::make_unique<Credentials>(*this);
  return index.get();
}

// --- plugins -------------------------------------------------------------------------------------

void PluginChains::CheckMetadata(const conf::Config& config, conf::Diagnostics& diagnostics) const {
  if (config.plugins.metadata == nullptr) return;
  const conf::Place list{*config.plugins.metadata, diagnostics, nullptr, "plugin_metadata"};
  for (size_t i = 0; i < list.node.items.size(); ++i) {
    const conf::Place place = list.Of(i);
    const std::string& name = place.node.Find("id")->text;
    const PluginKind* const kind = PluginRegistry::Find(name);
    if (kind == nullptr) {
      auto [message, hint] = PluginRegistry::Refuse(name);
      place.Fail(std::move(message), std::move(hint));
    } else if (kind->check_metadata == nullptr) {
      place.Fail("the plugin \"" + name + "\" takes no metadata");
    } else {
      kind->check_metadata(place);
    }
  }
}

void PluginChains::ReadSets(const conf::Config& config, conf::Diagnostics& diagnostics) {
  std::vector<bool> of_consumers(config.plugins.sets.size());
  for (const conf::ConsumerConfig& consumer : config.plugins.consumers) {
    if (consumer.plugins >= 0) of_consumers[static_cast<size_t>(consumer.plugins)] = true;
    for (const conf::CredentialConfig& credential : consumer.credentials) {
      of_consumers[static_cast<size_t>(credential.plugins)] = true;
    }
  }
  const PluginSources sources{
      .metadata = [&config](std::string_view plugin) { return FindMetadata(config, plugin); },
      .credentials = [this](std::string_view plugin) { return CredentialsOf(plugin); },
      .upstreams = &config.plugin_upstreams};
  for (size_t i = 0; i < config.plugins.sets.size(); ++i) {
    const conf::PluginSetConfig& set = config.plugins.sets[i];
    const conf::Place place{*set.node, diagnostics, nullptr, set.path};
    sets_.push_back(ReadPlugins(place, set.owner, sources, of_consumers[i]));
  }
}

// --- chains --------------------------------------------------------------------------------------

// The plugins of a set that are not there yet by name; disabled ones only hide.
void PluginChains::AddSet(int32_t set, std::string_view route, uint16_t rule,
                          std::vector<ChainPlugin>& to) {
  if (set < 0) return;
  for (const PluginInstance& instance : sets_[static_cast<size_t>(set)]) {
    const bool hidden = std::any_of(to.begin(), to.end(), [&](const ChainPlugin& other) {
      return other.rule == rule && other.instance->kind == instance.kind;
    });
    if (hidden) continue;
    to.push_back({&instance, static_cast<uint32_t>(costs_.size()), rule});
    costs_.push_back({route, instance.kind->traits.name});
  }
}

void PluginChains::JoinConsumers(const conf::Config& config) {
  for (size_t i = 0; i < consumers_.size(); ++i) {
    const conf::ConsumerConfig& from = config.plugins.consumers[i];
    std::vector<ChainPlugin>& plugins = consumers_[i].plugins;
    std::string_view owner;
    if (from.plugins >= 0) owner = config.plugins.sets[static_cast<size_t>(from.plugins)].owner;
    AddSet(from.plugins, owner, 0, plugins);
    AddSet(from.group_plugins, owner.empty() ? "consumer_group" : owner, 0, plugins);
    std::sort(plugins.begin(), plugins.end(), IsEarlier);
  }
}

const Chain* PluginChains::Link(std::string_view route, const std::vector<int32_t>& sets,
                                SeriesRequest& series) {
  std::vector<ChainPlugin> global;
  std::vector<ChainPlugin> own;
  uint16_t rule = 0;
  for (const conf::GlobalRuleConfig* const from : rules_) {
    AddSet(from->plugins, route, ++rule, global);
  }
  for (const int32_t set : sets) AddSet(set, route, 0, own);
  const auto disabled = [](const ChainPlugin& plugin) { return plugin.instance->meta.disabled; };
  std::erase_if(global, disabled);
  std::erase_if(own, disabled);
  for (const std::vector<ChainPlugin>* const plugins : {&global, &own}) {  // the last counts
    for (const ChainPlugin& plugin : *plugins) {
      const RouteSeries* const asked = plugin.instance->plugin->route_series();
      if (asked != nullptr) series = {asked, plugin.instance->meta.filter.get()};
    }
  }
  if (HasNoPhase(global) && HasNoPhase(own)) return nullptr;
  std::sort(own.begin(), own.end(), IsEarlier);
  Chain& chain =
      chains_.emplace_back(MakeChain(CopyTo(arena_, global), CopyTo(arena_, own), arena_));
  chain.route_id = route;
  return &chain;
}

void PluginChains::LinkRoutes(const conf::Config& config) {
  for (const conf::GlobalRuleConfig& rule : config.plugins.global_rules) rules_.push_back(&rule);
  SeriesRequest ignored;
  without_route_ = Link({}, {}, ignored);
  of_routes_.reserve(config.routes.size());
  bool any = false;
  bool any_series = false;
  for (const conf::RouteConfig& route : config.routes) {
    of_routes_.push_back(Link(route.id, route.plugin_sets, series_.emplace_back()));
    any = any || of_routes_.back() != nullptr;
    any_series = any_series || series_.back().series != nullptr;
  }
  if (!any) of_routes_.clear();
  if (!any_series) series_.clear();
}

}  // namespace sluice
