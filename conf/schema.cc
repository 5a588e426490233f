#include "conf/schema.h"

#include <algorithm>

#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

constexpr size_t kShownText = 60;

}  // namespace

std::string Place::Path() const {
  if (parent == nullptr) return std::string(key);
  std::string path = parent->Path();
  if (index != kNoIndex) return path + "[" + std::to_string(index) + "]";
  if (!path.empty()) path += '.';
  return path.append(key);
}

void Place::Fail(std::string message, std::string hint) const {
  FailAt(node.position, std::move(message), std::move(hint));
}

void Place::FailAt(Position position, std::string message, std::string hint) const {
  if (node.broken) return;
  diagnostics.Add(position, Path(), std::move(message), std::move(hint));
}

std::nullopt_t Place::Expected(std::string_view what, std::string hint) const {
  Fail("expected " + std::string(what) + ", got " + Describe(node), std::move(hint));
  return std::nullopt;
}

std::string Describe(const Node& node) {
  if (node.hidden) return std::string(KindName(node.kind)) + " put in for ${...}, not shown";
  switch (node.kind) {
    case Node::Kind::kBool:
      return std::string("the boolean ") + (node.boolean ? "true" : "false");
    case Node::Kind::kInteger:
      return "the integer " + node.text;
    case Node::Kind::kNumber:
      return "the number " + node.text;
    case Node::Kind::kString: {
      if (node.text.size() <= kShownText) return "the text \"" + node.text + "\"";
      size_t cut = kShownText;
      while (cut > 0 && (static_cast<unsigned char>(node.text[cut]) & 0xc0) == 0x80) --cut;
      return "the text \"" + node.text.substr(0, cut) + "...\"";
    }
    case Node::Kind::kList:
      return node.items.empty() ? "an empty list" : "a list";
    case Node::Kind::kMap:
      return node.entries.empty() ? "an empty map" : "a map";
    default:
      return std::string(KindName(node.kind));
  }
}

std::string Suggest(std::string_view word, const std::vector<std::string_view>& names) {
  // Two letters that changed places are a distance of 2.
  const size_t limit = word.size() < 3 ? 1 : word.size() < 8 ? 2 : 3;
  std::string_view best;
  size_t best_score = SIZE_MAX;
  for (const std::string_view name : names) {
    const size_t distance = EditDistance(word, name, limit);
    if (distance > limit || name.empty()) continue;
    // Of names equally far, one of the same length and beginning is the likelier.
    const size_t unlike =
        (name.size() != word.size() ? 2 : 0) + (word.starts_with(name[0]) ? 0 : 1);
    const size_t score = distance * 4 + unlike;
    if (score < best_score) {
      best = name;
      best_score = score;
    }
  }
  return best.empty() ? std::string() : "did you mean \"" + std::string(best) + "\"?";
}

std::string JoinWords(const std::vector<std::string_view>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

bool RefuseNotBuilt(const Place& place) {
  const Node& node = place.node;
  const bool off = node.kind == Node::Kind::kBool && !node.boolean;
  const bool empty =
      (node.is_map() || node.is_list()) && node.items.empty() && node.entries.empty();
  if (off || empty) return false;
  place.Fail("this feature is not built yet; it is refused because ignoring it could do harm");
  return true;
}

void FailUnknown(const Place& map, const Entry& entry, const std::vector<std::string_view>& names) {
  std::string hint = Suggest(entry.key, names);
  if (hint.empty()) hint = "known fields are " + JoinWords(names);
  map.Of(entry).FailAt(entry.key_position, "unknown field", std::move(hint));
}

std::string SchemaJson(const std::vector<FieldSchema>& fields) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject().Member("type", "object").Member("additionalProperties", false);
  json.Key("properties").BeginObject();
  for (const FieldSchema& field : fields) {
    std::string inner;
    JsonWriter member(inner);
    member.BeginObject().Member("description", field.doc);
    if (!field.fallback.empty()) member.Key("default").Raw(field.fallback);
    if (!field.type.json.empty()) inner.append(",").append(field.type.json);
    json.Key(field.name).Raw(inner + "}");
  }
  json.EndObject();
  const auto is_required = [](const FieldSchema& field) { return field.required; };
  if (std::any_of(fields.begin(), fields.end(), is_required)) {
    json.Key("required").BeginArray();
    for (const FieldSchema& field : fields) {
      if (field.required) json.String(field.name);
    }
    json.EndArray();
  }
  return text.substr(1);  // members only
}

}  // namespace sluice::conf
