#include "gateway/routing/path_tree.h"

#include <algorithm>
#include <cstring>

namespace sluice {

namespace {

constexpr size_t kPrefetchLimit = 256;

}  // namespace

void PathTree::Node::SetLabel(std::string_view bytes) {
  label_size = static_cast<uint16_t>(bytes.size());
  if (bytes.size() > sizeof(label.bytes)) {
    label.text = bytes.data();
  } else {
    bytes.copy(label.bytes, bytes.size());
  }
}

bool PathTree::Node::Begins(std::string_view path) const {
  if (path.size() < label_size) return false;
  const char* bytes = label_size > sizeof(label.bytes) ? label.text : label.bytes;
  return path.substr(0, label_size) == std::string_view(bytes, label_size);
}

uint32_t PathTree::Add(std::span<const Key> keys) {
  const auto root = static_cast<uint32_t>(nodes_.size());
  nodes_.emplace_back();
  first_bytes_.push_back('\0');
  std::vector<Work> todo = {{root, 0, keys.size(), 0}};
  while (!todo.empty()) {
    const Work work = todo.back();
    todo.pop_back();
    Fill(work, keys, todo);
  }
  return root;
}

void PathTree::Fill(const Work& work, std::span<const Key> keys, std::vector<Work>& todo) {
  // Sorted keys have in common what the first and the last have in common.
  const std::string_view low = keys[work.first].text;
  const std::string_view high = keys[work.last - 1].text;
  size_t end = work.depth;
  while (end < low.size() && end < high.size() && low[end] == high[end]) ++end;

  Node node = nodes_[work.node];
  node.SetLabel(low.substr(work.depth, end - work.depth));
  size_t next = work.first;
  if (low.size() == end) node.value = keys[next++].value;
  node.first_child = static_cast<uint32_t>(nodes_.size());
  const uint32_t shorter = node.value == kNone ? node.shorter : work.node;
  while (next < work.last) {
    const char byte = keys[next].text[end];
    size_t last = next + 1;
    while (last < work.last && keys[last].text[end] == byte) ++last;
    todo.push_back({static_cast<uint32_t>(nodes_.size()), next, last, end + 1});
    nodes_.emplace_back();
    nodes_.back().shorter = shorter;
    first_bytes_.push_back(byte);
    ++node.children;
    next = last;
  }
  nodes_[work.node] = node;
}

uint32_t PathTree::FindLongest(uint32_t root, std::string_view path) const {
  uint32_t longest = kNone;
  for (uint32_t index = root;;) {
    const Node& node = nodes_[index];
    if (!node.Begins(path)) return longest;
    path.remove_prefix(node.label_size);
    if (node.value != kNone) longest = index;
    if (path.empty() || node.children == 0) return longest;
    const char* children = first_bytes_.data() + node.first_child;
    // In a large tree both arrays miss the cache: fetch the nodes while the bytes are searched.
    const auto* nodes = reinterpret_cast<const char*>(nodes_.data() + node.first_child);
    const size_t nodes_size = std::min(node.children * sizeof(Node), kPrefetchLimit);
    for (size_t at = 0; at < nodes_size; at += 64) __builtin_prefetch(nodes + at);
    const void* child = std::memchr(children, path.front(), node.children);
    if (child == nullptr) return longest;
    index = node.first_child + static_cast<uint32_t>(static_cast<const char*>(child) - children);
    path.remove_prefix(1);
  }
}

}  // namespace sluice
