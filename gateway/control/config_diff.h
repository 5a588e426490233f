// What differs between two configuration documents: resources by list and id, settings by key.
// Shown by `sluice reload` and in the log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conf/config_tree.h"

namespace sluice {

struct ConfigChange {
  enum class Kind : uint8_t { kAdded, kChanged, kRemoved };

  std::string list;  // "routes", "upstreams", …; "gateway" for settings
  std::string id;    // of the resource, or "#3" for one without; the key of the setting
  Kind kind = Kind::kChanged;
};

class ConfigDiff {
 public:
  static ConfigDiff Between(const conf::Node& before, const conf::Node& after);

  const std::vector<ConfigChange>& changes() const { return changes_; }

  // "routes: 2 added (a, b), 1 removed (c)", a line for each list.
  std::string ToText() const;
  // [{"list","id","change"}]
  std::string ToJson() const;
  // All in one line: "3 added, 1 changed, 0 removed".
  std::string Summary() const;

 private:
  std::vector<ConfigChange> changes_;
};

}  // namespace sluice
