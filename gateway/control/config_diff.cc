#include "gateway/control/config_diff.h"

#include <array>
#include <string_view>
#include <unordered_map>

#include "gateway/base/json_writer.h"

namespace sluice {
namespace {

using Kind = ConfigChange::Kind;

constexpr std::array<Kind, 3> kKinds = {Kind::kAdded, Kind::kChanged, Kind::kRemoved};
constexpr std::array<std::string_view, 3> kKindNames = {"added", "changed", "removed"};
constexpr size_t kNamed = 10;      // ids in a line of text; the rest is counted
constexpr size_t kListed = 10000;  // changes in JSON

std::string_view NameOf(Kind kind) { return kKindNames[static_cast<size_t>(kind)]; }

std::string IdOf(const conf::Node& item, size_t index) {
  for (const std::string_view key : {"id", "username"}) {
    const conf::Node* id = item.Find(key);
    if (id != nullptr && !id->text.empty()) return id->text;
  }
  return "#" + std::to_string(index);
}

// The members of a list or map by name. The values refer to the document.
std::vector<std::pair<std::string, const conf::Node*>> MembersOf(const conf::Node* node) {
  std::vector<std::pair<std::string, const conf::Node*>> members;
  if (node == nullptr) return members;
  for (size_t i = 0; i < node->items.size(); ++i) {
    members.emplace_back(IdOf(node->items[i], i), &node->items[i]);
  }
  for (const conf::Entry& entry : node->entries) members.emplace_back(entry.key, &entry.value);
  return members;
}

void Compare(const std::string& list, const conf::Node* before, const conf::Node* after,
             std::vector<ConfigChange>& changes) {
  std::unordered_map<std::string, const conf::Node*> old;
  const auto old_members = MembersOf(before);
  for (const auto& [id, node] : old_members) old.emplace(id, node);
  for (const auto& [id, node] : MembersOf(after)) {
    const auto found = old.find(id);
    if (found == old.end()) {
      changes.push_back({list, id, Kind::kAdded});
      continue;
    }
    if (conf::ToJson(*found->second) != conf::ToJson(*node)) {
      changes.push_back({list, id, Kind::kChanged});
    }
    old.erase(found);
  }
  for (const auto& [id, node] : old_members) {
    if (old.contains(id)) changes.push_back({list, id, Kind::kRemoved});
  }
}

}  // namespace

ConfigDiff ConfigDiff::Between(const conf::Node& before, const conf::Node& after) {
  ConfigDiff diff;
  for (const conf::Entry& entry : after.entries) {
    Compare(entry.key, before.Find(entry.key), &entry.value, diff.changes_);
  }
  for (const conf::Entry& entry : before.entries) {
    if (after.Find(entry.key) == nullptr) {
      Compare(entry.key, &entry.value, nullptr, diff.changes_);
    }
  }
  return diff;
}

std::string ConfigDiff::ToText() const {
  std::string text;
  for (size_t first = 0; first < changes_.size();) {
    const std::string& list = changes_[first].list;
    size_t end = first;
    while (end < changes_.size() && changes_[end].list == list) ++end;
    text += list + ":";
    std::string_view separator = " ";
    for (const Kind kind : kKinds) {
      std::string ids;
      size_t count = 0;
      for (size_t i = first; i < end; ++i) {
        if (changes_[i].kind != kind) continue;
        if (++count <= kNamed) ids += (ids.empty() ? "" : ", ") + changes_[i].id;
      }
      if (count == 0) continue;
      if (count > kNamed) ids += ", ...";
      text += std::string(separator) + std::to_string(count) + " " + std::string(NameOf(kind)) +
              " (" + ids + ")";
      separator = ", ";
    }
    text += "\n";
    first = end;
  }
  return text;
}

std::string ConfigDiff::ToJson() const {
  std::string text;
  JsonWriter json(text);
  json.BeginArray();
  for (size_t i = 0; i < changes_.size() && i < kListed; ++i) {
    json.BeginObject()
        .Member("list", changes_[i].list)
        .Member("id", changes_[i].id)
        .Member("change", NameOf(changes_[i].kind))
        .EndObject();
  }
  json.EndArray();
  return text;
}

std::string ConfigDiff::Summary() const {
  std::array<size_t, kKinds.size()> counts{};
  for (const ConfigChange& change : changes_) ++counts[static_cast<size_t>(change.kind)];
  std::string text;
  for (const Kind kind : kKinds) {
    if (!text.empty()) text += ", ";
    text += std::to_string(counts[static_cast<size_t>(kind)]) + " " + std::string(NameOf(kind));
  }
  return text;
}

}  // namespace sluice
