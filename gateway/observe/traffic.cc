#include "gateway/observe/traffic.h"

#include <string>

namespace sluice {

std::string_view StatusSlotName(size_t slot) {
  static const auto kNames = [] {
    std::array<std::string, kStatusSlots> names;
    for (size_t i = 0; i < kStatuses.size(); ++i) names[i] = std::to_string(kStatuses[i]);
    names[kStatuses.size()] = "none";
    for (size_t hundred = 1; hundred < 6; ++hundred) {
      names[kStatuses.size() + hundred] = std::to_string(hundred) + "xx";
    }
    return names;
  }();
  return kNames.at(slot);
}

}  // namespace sluice
