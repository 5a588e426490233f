// All plugins of this binary, which have registered themselves before main; and all that APISIX
// has, so that a name is either known, known but not built, or a mistake. Constant from main on.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct PluginKind;

class PluginRegistry {
 public:
  static void Add(PluginKind& kind);  // lives to the end of the process

  static const PluginKind* Find(std::string_view name);  // null: not built
  static std::vector<const PluginKind*> All();           // by name
  // APISIX's priority of its plugin of that name; nullopt: APISIX has none.
  static std::optional<int> ApisixPriority(std::string_view name);
  // What is wrong with a name that Find does not know, and a hint.
  struct Refusal {
    std::string message;
    std::string hint;
  };
  static Refusal Refuse(std::string_view name);
};

}  // namespace sluice
