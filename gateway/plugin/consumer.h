// Who sends requests, as the snapshot has compiled it: found by an authentication plugin, then set
// for the request, whose chain the consumer's own plugins join.
#pragma once

#include <string>
#include <vector>

#include "gateway/plugin/chain.h"

namespace sluice {

struct Consumer {
  std::string username;
  std::string group_id;  // empty: none
  std::vector<std::pair<std::string, std::string>> labels;
  // Its own and its group's, by priority, without those that authenticate.
  std::vector<ChainPlugin> plugins;
};

}  // namespace sluice
