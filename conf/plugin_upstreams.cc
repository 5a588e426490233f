#include "conf/plugin_upstreams.h"

#include <utility>
#include <vector>

namespace sluice::conf {
namespace {

std::vector<std::pair<std::string_view, FindUpstreams>>& Registered() {
  static std::vector<std::pair<std::string_view, FindUpstreams>> registered;
  return registered;
}

}  // namespace

void RegisterPluginUpstreams(std::string_view plugin, FindUpstreams find) {
  Registered().emplace_back(plugin, find);
}

FindUpstreams FindPluginUpstreams(std::string_view plugin) {
  for (const auto& [name, find] : Registered()) {
    if (name == plugin) return find;
  }
  return nullptr;
}

}  // namespace sluice::conf
