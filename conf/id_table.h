// The ids of one resource list and where each stands, while a document is decoded. Internal to
// conf/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"
#include "conf/schema.h"

namespace sluice::conf {

class IdTable {
 public:
  IdTable(std::string_view list, Diagnostics& diagnostics)
      : list_(list), diagnostics_(diagnostics) {}

  // Makes the id of an object that gave none, from the fields that tell it from others, so that it
  // is the same after a reload, in another process, and when the list is reordered. The same
  // identity twice gets a number.
  std::string Generate(const Node& node, std::initializer_list<std::string_view> identity);
  void Add(const std::string& id, int32_t index, const Place& place);
  std::optional<int32_t> Find(const std::string& id) const;
  // A hint for an id that is not there.
  std::string Candidates(std::string_view id) const;
  // The index of the object that `place` refers to by `field`; -1 when there is none, which is
  // said.
  int32_t Resolve(const Place& place, const std::string& id, Position where,
                  std::string_view field) const;

 private:
  struct Known {
    int32_t index;
    Position position;
  };
  std::string_view list_;
  Diagnostics& diagnostics_;
  std::unordered_map<std::string, Known> ids_;
  std::unordered_map<std::string, size_t> generated_;
};

}  // namespace sluice::conf
