// From a file with its includes to one document.
#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>
#include <vector>

#include <glob.h>

#include "conf/document.h"
#include "conf/source_file.h"
#include "conf/substitution.h"

namespace sluice::conf {
namespace {

constexpr size_t kMaximumIncludes = 1000;

// APISIX's resources. The built ones are decoded; the others must be empty.
constexpr std::string_view kBuilt[] = {
    "routes",         "services",        "upstreams",    "ssls",           "consumers",
    "plugin_configs", "plugin_metadata", "global_rules", "consumer_groups"};
constexpr std::string_view kNotBuilt[] = {"plugins",     "ssl",     "stream_routes",
                                          "credentials", "secrets", "protos"};

bool IsBuilt(std::string_view section) {
  return std::find(std::begin(kBuilt), std::end(kBuilt), section) != std::end(kBuilt);
}

bool IsNotBuilt(std::string_view section) {
  return std::find(std::begin(kNotBuilt), std::end(kNotBuilt), section) != std::end(kNotBuilt);
}

std::vector<std::string_view> SectionNames() {
  std::vector<std::string_view> names = {"gateway", "include"};
  for (const std::string_view name : kBuilt) names.push_back(name);
  for (const std::string_view name : kNotBuilt) names.push_back(name);
  return names;
}

class Loader {
 public:
  explicit Loader(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}
  Node Load(const std::string& path);

 private:
  Node ReadTree(const std::string& path, Position from);
  Node Unread(Position from, std::string message);
  void Include(const Place& place, const std::string& directory, Node& root);
  void IncludePattern(const Place& place, const std::string& directory, Node& root);
  void IncludeFile(const std::string& path, const Place& from, Node& root);
  void Merge(Entry section, Node& root);

  Diagnostics& diagnostics_;
  TreeLimits limits_;  // bytes: what is left of the limit of all files together
  std::set<std::filesystem::path> seen_;
  size_t included_ = 0;
  bool unread_ =
      false;  // some file could not be read, so that references into it would not resolve
};

bool LooksLikeJson(const std::string& path, std::string_view text) {
  if (path.ends_with(".json")) return true;
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

// A null node with an added diagnostic when the file cannot be read. `from`: what names the file.
Node Loader::ReadTree(const std::string& path, Position from) {
  auto text = ReadRegularFile(path, limits_.bytes);
  if (!text) {
    return Unread(from, "cannot read the file: " + text.error().detail);
  }
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(path, error);
  if (!error && !seen_.insert(canonical).second) {
    return Unread(from, "the file " + path + " is read twice");
  }
  limits_.bytes -= std::min(limits_.bytes, text->size());
  if (text->starts_with("\xef\xbb\xbf")) text->erase(0, 3);
  const uint32_t file = diagnostics_.AddSource(path, *text);
  const bool json = LooksLikeJson(path, *text);
  const size_t before = diagnostics_.total();
  Node root = json ? ParseJson(*text, file, diagnostics_) : ParseYaml(*text, file, diagnostics_);
  if (diagnostics_.total() != before) {
    unread_ = true;
    return {};
  }
  Substitute(root, DirectoryOf(path), diagnostics_);
  return root;
}

Node Loader::Unread(Position from, std::string message) {
  diagnostics_.Add(from, {}, std::move(message));
  unread_ = true;
  return {};
}

Node Loader::Load(const std::string& path) {
  Node root = ReadTree(path, {UINT32_MAX, 0, 0});
  if (unread_) return {};
  const Place place{root, diagnostics_};
  if (!root.is_map()) {
    place.Expected("a map with routes");
    return {};
  }
  if (root.Find("routes") == nullptr && root.Find("include") == nullptr) {
    place.Fail("expected \"routes\" or \"include\"; both are missing");
  }
  const auto include = std::find_if(root.entries.begin(), root.entries.end(),
                                    [](const Entry& entry) { return entry.key == "include"; });
  if (include == root.entries.end()) return root;
  const Entry entry = std::move(*include);
  root.entries.erase(include);
  Include(place.Of(entry), DirectoryOf(path), root);
  return unread_ ? Node{} : root;
}

void Loader::Include(const Place& place, const std::string& directory, Node& root) {
  if (!place.node.is_list()) {
    IncludePattern(place, directory, root);
    return;
  }
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    IncludePattern(place.Of(i), directory, root);
  }
}

void Loader::IncludePattern(const Place& place, const std::string& directory, Node& root) {
  const auto path = Text{}(place);
  if (!path) return;
  const std::string pattern = ResolvePath(directory, *path);
  if (pattern.find_first_of("*?[") == std::string::npos) {
    IncludeFile(pattern, place, root);
    return;
  }
  glob_t found{};
  // No match is no error: a directory for additions may be empty.
  const int error = glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  if (error != 0 && error != GLOB_NOMATCH) {
    place.Fail("cannot read the directory of \"" + *path + "\"");
  }
  const size_t count = error == 0 ? found.gl_pathc : 0;
  for (size_t i = 0; i < count && included_ <= kMaximumIncludes; ++i) {
    IncludeFile(found.gl_pathv[i], place, root);
  }
  globfree(&found);
}

void Loader::IncludeFile(const std::string& path, const Place& from, Node& root) {
  if (++included_ > kMaximumIncludes) {
    from.Fail("expected at most " + std::to_string(kMaximumIncludes) + " included files");
    return;
  }
  Node included = ReadTree(path, from.node.position);
  // A file with nothing but #END is APISIX's empty configuration.
  if (unread_ || included.kind == Node::Kind::kNull) return;
  const Place place{included, diagnostics_};
  if (!included.is_map()) {
    place.Expected("a map of resource lists");
    return;
  }
  for (Entry& entry : included.entries) {
    if (entry.key == "gateway" || entry.key == "include") {
      place.Of(entry).FailAt(entry.key_position, "only the main file may have this section");
    } else {
      Merge(std::move(entry), root);
    }
  }
}

// Lists of the same name are put together; what else is wrong with a section, the decoder says.
void Loader::Merge(Entry section, Node& root) {
  const auto same = std::find_if(root.entries.begin(), root.entries.end(),
                                 [&](const Entry& entry) { return entry.key == section.key; });
  if (same == root.entries.end()) {
    root.entries.push_back(std::move(section));
    return;
  }
  std::vector<Node>& items = section.value.items;
  if (same->value.is_list() && section.value.is_list()) {
    std::move(items.begin(), items.end(), std::back_inserter(same->value.items));
  } else if (same->value.kind == Node::Kind::kNull) {
    *same = std::move(section);
  } else if (section.value.kind != Node::Kind::kNull) {
    const Place place{root, diagnostics_};
    place.Of(section).Expected("a list, as in the file before");
  }
}

}  // namespace

void CheckSections(const Place& root) {
  for (const Entry& entry : root.node.entries) {
    const Place section = root.Of(entry);
    if (entry.key == "credentials" && entry.value.kind != Node::Kind::kNull) {
      section.Fail("credentials stand among the consumers, as APISIX has them",
                   "their ids look like \"jack/credentials/one\"");
    } else if (IsNotBuilt(entry.key)) {
      if (entry.value.kind != Node::Kind::kNull) RefuseNotBuilt(section);
    } else if (entry.key != "gateway" && !IsBuilt(entry.key)) {
      FailUnknown(root, entry, SectionNames());
    }
  }
}

std::shared_ptr<const Config> LoadFile(const std::string& path, Diagnostics& diagnostics) {
  Node root = Loader(diagnostics).Load(path);
  if (!root.is_map()) return nullptr;
  return Decode(std::move(root), diagnostics);
}

}  // namespace sluice::conf
