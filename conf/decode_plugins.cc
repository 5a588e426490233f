// plugin_configs, global_rules, consumers with their credentials, consumer_groups and
// plugin_metadata in APISIX's fields.
#include "conf/decode_plugins.h"

#include <algorithm>
#include <utility>

#include "conf/declaration.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

// What these objects have in common.
struct PluginObject {
  std::string id;
  std::string username;
  std::string group_id;
  Position group_id_position;
  const Node* plugins = nullptr;
  std::vector<std::pair<std::string, std::string>> labels;
};

using T = PluginObject;

struct IdReference {
  std::optional<std::string> operator()(const Place& place) const { return Id{}(place); }
};

bool IsUsername(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return IsDigit(c) || c == '_' || c == '-' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
  });
}

// APISIX keeps credentials among the consumers, as "jack/credentials/one".
constexpr std::string_view kCredentials = "/credentials/";

bool IsCredential(const Place& place) {
  const Node* const id = place.node.Find("id");
  return id != nullptr && id->is_string() && id->text.find(kCredentials) != std::string::npos;
}

bool IsCredentialId(std::string_view text) {
  const size_t middle = text.find(kCredentials);
  const std::string_view username = text.substr(0, middle);
  return !username.empty() && IsUsername(username) &&
         IsIdText(text.substr(middle + kCredentials.size()));
}

struct LabelMap {
  std::optional<std::vector<std::pair<std::string, std::string>>> operator()(
      const Place& place) const {
    if (!Labels{}(place)) return std::nullopt;
    return MapOf<Text>{.item = {1, 256}}(place);
  }
};

Fields<T> CommonFields() {
  return {
      Bind("id", &T::id, Id{}),
      Accept<T>("name", Text{0, 256}),
      Accept<T>("desc", Text{0, 256}),
      Bind("labels", &T::labels, LabelMap{}),
      Accept<T>("create_time", Integer<int64_t>{}),
      Accept<T>("update_time", Integer<int64_t>{}),
      Required(Bind("plugins", &T::plugins, PluginsMap{})),
  };
}

const Fields<T>& SetFields() {
  static const Fields<T> kFields = CommonFields();
  return kFields;
}

const Fields<T>& ConsumerFields() {
  static const Fields<T> kFields = [] {
    Fields<T> fields = CommonFields();
    fields.back().required = false;
    constexpr std::string_view kWhat = "letters, digits, '_' and '-'";
    fields.push_back(Required(Bind("username", &T::username,
                                   TextLike{kWhat, IsUsername, "^[a-zA-Z0-9_\\-]+$", {1, 256}})));
    fields.push_back({"group_id", [](const Place& place, T& out) {
                        if (auto id = Id{}(place)) out.group_id = *std::move(id);
                        out.group_id_position = place.node.position;
                      }});
    return fields;
  }();
  return kFields;
}

const Fields<T>& CredentialFields() {
  static const Fields<T> kFields = [] {
    Fields<T> fields = CommonFields();
    fields.front() = Required(
        Bind("id", &T::id,
             TextLike{"the name of a consumer, \"/credentials/\" and 1 to 64 letters, digits, '-', "
                      "'_', '.'",
                      IsCredentialId,
                      "^[a-zA-Z0-9-_]+/credentials/[a-zA-Z0-9-_.]+$",
                      {1, 336}}));
    fields.back().required = false;
    return fields;
  }();
  return kFields;
}

}  // namespace

std::optional<const Node*> PluginsMap::operator()(const Place& place) const {
  if (place.node.is_map()) return &place.node;
  return place.Expected("a map from names of plugins to their configuration");
}

void PluginDecoder::Run(const Place& root) {
  ForEach(root, "plugin_configs", [this](const Place& place) { AddPluginConfig(place); });
  ForEach(root, "consumer_groups", [this](const Place& place) { AddGroup(place); });
  ForEach(root, "global_rules", [this](const Place& place) { AddGlobalRule(place); });
  bool credentials = false;
  ForEach(root, "consumers", [this, &credentials](const Place& place) {
    if (IsCredential(place)) {
      credentials = true;  // its consumer may stand behind it
    } else {
      AddConsumer(place);
    }
  });
  if (credentials) {
    ForEach(root, "consumers", [this](const Place& place) {
      if (IsCredential(place)) AddCredential(place);
    });
  }
  ReadMetadata(root);
}

int32_t PluginDecoder::Add(const Place& object, const Node* plugins, std::string owner) {
  if (plugins == nullptr) return -1;
  const Place place{*plugins, object.diagnostics, &object, "plugins"};
  for (const Entry& entry : plugins->entries) on_plugin(place.Of(entry), owner);
  config_.plugins.sets.push_back({std::move(owner), object.Path() + ".plugins", plugins});
  return static_cast<int32_t>(config_.plugins.sets.size()) - 1;
}

std::vector<int32_t> PluginDecoder::OfRoute(const Place& place, const RouteDraft& draft,
                                            int32_t service_plugins) {
  std::vector<int32_t> sets = {Add(place, draft.plugins, "route/" + draft.route.id)};
  if (!draft.plugin_config_id.empty()) {
    sets.push_back(plugin_config_ids_.Resolve(place, draft.plugin_config_id,
                                              draft.plugin_config_id_position, "plugin_config_id"));
  }
  sets.push_back(service_plugins);
  std::erase(sets, -1);
  return sets;
}

void PluginDecoder::AddPluginConfig(const Place& place) {
  PluginObject object;
  if (!ReadFields(place, SetFields(), object)) return;
  if (object.id.empty()) place.Fail("expected the field \"id\", which is missing");
  plugin_config_ids_.Add(object.id, Add(place, object.plugins, "plugin_config/" + object.id),
                         place);
}

void PluginDecoder::AddGroup(const Place& place) {
  PluginObject object;
  if (!ReadFields(place, SetFields(), object)) return;
  if (object.id.empty()) place.Fail("expected the field \"id\", which is missing");
  group_ids_.Add(object.id, Add(place, object.plugins, "consumer_group/" + object.id), place);
}

void PluginDecoder::AddGlobalRule(const Place& place) {
  PluginObject object;
  if (!ReadFields(place, SetFields(), object)) return;
  if (object.id.empty()) object.id = rule_ids_.Generate(place.node, {"plugins"});
  rule_ids_.Add(object.id, 0, place);
  const int32_t set = Add(place, object.plugins, "global_rule/" + object.id);
  config_.plugins.global_rules.push_back({object.id, set});
}

void PluginDecoder::AddConsumer(const Place& place) {
  PluginObject object;
  if (!ReadFields(place, ConsumerFields(), object) || object.username.empty()) return;
  const auto [before, added] = usernames_.emplace(
      object.username, KnownConsumer{config_.plugins.consumers.size(), place.node.position});
  if (!added) {
    place.Fail("the username \"" + object.username + "\" is there twice in consumers",
               "the first is at " + place.diagnostics.Locate(before->second.position));
  }
  ConsumerConfig consumer{.username = object.username,
                          .group_id = object.group_id,
                          .labels = std::move(object.labels),
                          .credentials = {},
                          .position = place.node.position};
  consumer.plugins = Add(place, object.plugins, "consumer/" + object.username);
  if (!object.group_id.empty()) {
    consumer.group_plugins =
        group_ids_.Resolve(place, object.group_id, object.group_id_position, "group_id");
  }
  config_.plugins.consumers.push_back(std::move(consumer));
}

void PluginDecoder::AddCredential(const Place& place) {
  PluginObject object;
  if (!ReadFields(place, CredentialFields(), object) || object.id.empty()) return;
  credential_ids_.Add(object.id, 0, place);
  const size_t middle = object.id.find(kCredentials);
  const auto owner = usernames_.find(object.id.substr(0, middle));
  if (owner == usernames_.end()) {
    place.Fail("there is no consumer with the username \"" + object.id.substr(0, middle) + "\"");
    return;
  }
  if (object.plugins == nullptr) return;
  if (object.plugins->entries.size() > 1) {
    place.Fail("expected at most one plugin in a credential, got " +
               std::to_string(object.plugins->entries.size()));
    return;
  }
  config_.plugins.consumers[owner->second.index].credentials.push_back(
      {object.id.substr(middle + kCredentials.size()), Add(place, object.plugins, object.id)});
}

void PluginDecoder::ReadMetadata(const Place& root) {
  const Node* const node = root.node.Find("plugin_metadata");
  if (node == nullptr || node->kind == Node::Kind::kNull) return;
  const Place place{*node, root.diagnostics, &root, "plugin_metadata"};
  if (node->is_map() && node->entries.empty()) return;
  if (!node->is_list()) {
    place.Expected("a list of maps, each with the name of a plugin as \"id\"");
    return;
  }
  for (size_t i = 0; i < node->items.size(); ++i) {
    const Place item = place.Of(i);
    const Node* const id = item.node.Find("id");
    if (id == nullptr || !id->is_string()) item.Fail("expected the name of a plugin as \"id\"");
  }
  config_.plugins.metadata = node;
}

}  // namespace sluice::conf
