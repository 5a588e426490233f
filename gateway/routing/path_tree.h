// Longest-prefix search: a radix tree for each host, all in one array of 24-byte nodes. Built from
// sorted keys, so that the children of a node lie side by side and one memchr over their first
// bytes finds the next one. A label does not repeat that byte; it is in the node when it is short,
// and a view into the keys, which must outlive the tree, when it is long.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice {

class PathTree {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Key {
    std::string_view text;  // shorter than 64 KiB
    uint32_t value = 0;     // not kNone
  };

  // Adds a tree and returns its root. Precondition: `keys` are sorted, distinct and not none.
  uint32_t Add(std::span<const Key> keys);

  // The node of the longest key of the tree that is a prefix of `path`, or kNone.
  uint32_t FindLongest(uint32_t root, std::string_view path) const;
  // The node of the next shorter such key, or kNone.
  uint32_t Shorter(uint32_t node) const { return nodes_[node].shorter; }
  uint32_t value(uint32_t node) const { return nodes_[node].value; }

 private:
  struct Node {
    union {
      char bytes[sizeof(const char*)];
      const char* text;  // when the label is longer
    } label{};
    uint32_t first_child = 0;
    uint32_t value = kNone;
    uint32_t shorter = kNone;  // nearest node above that has a value
    uint16_t label_size = 0;
    uint16_t children = 0;

    void SetLabel(std::string_view bytes);
    bool Begins(std::string_view path) const;
  };
  struct Work {
    uint32_t node;
    size_t first;  // keys below the node: [first, last)
    size_t last;
    size_t depth;  // bytes before the node's label
  };

  void Fill(const Work& work, std::span<const Key> keys, std::vector<Work>& todo);

  std::vector<Node> nodes_;
  std::vector<char> first_bytes_;  // of each node's label
};

}  // namespace sluice
