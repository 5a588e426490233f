#include "conf/id_table.h"

#include <algorithm>
#include <vector>

namespace sluice::conf {
namespace {

constexpr size_t kShownCandidates = 5;

uint64_t Fnv1a(std::string_view text, uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string GenerateId(const Node& node, std::initializer_list<std::string_view> identity) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view name : identity) {
    const Node* value = node.Find(name);
    if (value != nullptr) hash = Fnv1a(ToJson(*value), Fnv1a(name, hash));
  }
  std::string id = "auto-";
  for (int shift = 60; shift >= 0; shift -= 4) id += "0123456789abcdef"[(hash >> shift) & 15];
  return id;
}

}  // namespace

std::string IdTable::Generate(const Node& node, std::initializer_list<std::string_view> identity) {
  const std::string base = GenerateId(node, identity);
  const size_t count = ++generated_[base];
  return count == 1 ? base : base + "-" + std::to_string(count);
}

void IdTable::Add(const std::string& id, int32_t index, const Place& place) {
  const auto [before, added] = ids_.emplace(id, Known{index, place.node.position});
  if (added) return;
  place.Fail("the id \"" + id + "\" is there twice in " + std::string(list_),
             "the first is at " + diagnostics_.Locate(before->second.position));
}

std::optional<int32_t> IdTable::Find(const std::string& id) const {
  const auto found = ids_.find(id);
  return found == ids_.end() ? std::nullopt : std::optional(found->second.index);
}

std::string IdTable::Candidates(std::string_view id) const {
  if (diagnostics_.total() >= Diagnostics::kMaximum) return {};  // would not be shown
  if (ids_.empty()) return "there are no " + std::string(list_);
  std::vector<std::string_view> names;
  for (const auto& [known, where] : ids_) names.push_back(known);
  std::sort(names.begin(), names.end());
  std::string near = Suggest(id, names);
  if (!near.empty()) return near;
  std::string out = std::string(list_) + " are ";
  for (size_t i = 0; i < std::min(names.size(), kShownCandidates); ++i) {
    out.append(i == 0 ? "" : ", ").append(names[i]);
  }
  return names.size() > kShownCandidates ? out + ", ..." : out;
}

int32_t IdTable::Resolve(const Place& place, const std::string& id, Position where,
                         std::string_view field) const {
  if (const auto index = Find(id)) return *index;
  const Place reference{*place.node.Find(field), diagnostics_, &place, field};
  reference.FailAt(where, "there is no object with the id \"" + id + "\"", Candidates(id));
  return -1;
}

}  // namespace sluice::conf
