// Puts parser events together to a Node tree under TreeLimits: the part that the YAML and the JSON
// reader share. It lives for one parse. After the first violation it takes no more; the parser asks
// failed() and stops.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/config_tree.h"
#include "conf/diagnostics.h"

namespace sluice::conf {

class TreeBuilder {
 public:
  TreeBuilder(Diagnostics& diagnostics, const TreeLimits& limits)
      : diagnostics_(diagnostics), limits_(limits) {}

  // The next thing in the innermost open map is a key.
  bool expects_key() const { return !open_.empty() && open_.back().expects_key; }
  void Key(std::string key, Position position);

  void Scalar(Node node);
  void BeginMap(Position position) { Begin(Node::Kind::kMap, position); }
  void BeginList(Position position) { Begin(Node::Kind::kList, position); }
  // Ends the innermost map (diagnosing keys that are there twice) or list.
  void End();

  // Adds a copy of a finished subtree: what a YAML alias stands for.
  void Copy(const Node& node, Position position);
  // Counts a subtree towards the limits as if it stood here; false when that is too much.
  bool Account(const Node& node, Position position);

  // The last value that was completed: what an anchor names. Valid until the next event.
  const Node& last_value() const { return *last_; }

  // Where the innermost open map or list began, and the key that waits for its value. Only while
  // one is open.
  Position open_position() const { return open_.back().node.position; }
  Position key_position() const { return open_.back().key_position; }
  bool in_map() const { return !open_.empty() && open_.back().node.is_map(); }
  bool is_open() const { return !open_.empty(); }

  void Fail(Position position, std::string message, std::string hint = {});
  bool failed() const { return failed_; }
  bool complete() const { return has_root_ && open_.empty() && !failed_ && !repeated_; }
  bool empty() const { return !has_root_ && !failed_; }  // no event came
  Node TakeRoot() { return std::move(root_); }

 private:
  struct Open {
    Node node;
    std::string key;  // of the value that comes next
    Position key_position;
    bool expects_key = false;
  };

  void Begin(Node::Kind kind, Position position);
  void Attach(Node node);
  bool Count(size_t nodes, size_t depth, Position position);

  Diagnostics& diagnostics_;
  const TreeLimits& limits_;
  std::vector<Open> open_;
  Node root_;
  const Node* last_ = nullptr;
  size_t nodes_ = 0;
  bool has_root_ = false;
  bool failed_ = false;
  bool repeated_ = false;  // some key was there twice; reading goes on to find the others
};

// Diagnoses every key of a map that is there more than once; true when all are different.
bool CheckUniqueKeys(const Node& map, Diagnostics& diagnostics);

// Diagnoses what no configuration text may contain: more bytes than the limit, bytes that are not
// UTF-8, control characters, a carriage return without a line feed. True when it is clean.
bool CheckText(std::string_view text, uint32_t file, const TreeLimits& limits,
               Diagnostics& diagnostics);

// Turns byte offsets that never decrease into positions, reading the text only once. Columns count
// characters.
class PositionTracker {
 public:
  PositionTracker(std::string_view text, uint32_t file) : text_(text), file_(file) {}
  Position At(size_t offset);

 private:
  std::string_view text_;
  uint32_t file_;
  size_t offset_ = 0;
  uint32_t line_ = 1;
  uint32_t column_ = 1;
};

}  // namespace sluice::conf
