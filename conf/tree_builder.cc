#include "conf/tree_builder.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

struct Size {
  size_t nodes = 0;
  size_t depth = 0;
};

Size Measure(const Node& node) {
  Size size{1, node.is_map() || node.is_list() ? size_t{1} : size_t{0}};
  const auto add = [&](const Node& child) {
    const Size inner = Measure(child);
    size.nodes += inner.nodes;
    size.depth = std::max(size.depth, inner.depth + 1);
  };
  for (const Node& item : node.items) add(item);
  for (const Entry& entry : node.entries) add(entry.value);
  return size;
}

std::string HexByte(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  return {'0', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

}  // namespace

void TreeBuilder::Fail(Position position, std::string message, std::string hint) {
  if (failed_) return;
  failed_ = true;
  diagnostics_.Add(position, {}, std::move(message), std::move(hint));
}

bool TreeBuilder::Count(size_t nodes, size_t depth, Position position) {
  if (failed_) return false;
  nodes_ += nodes;
  if (nodes_ > limits_.nodes) {
    Fail(position, "the document is too large: expected at most " + std::to_string(limits_.nodes) +
                       " values, aliases expanded");
  } else if (open_.size() + depth > limits_.depth) {
    Fail(position, "nested too deeply: expected at most " + std::to_string(limits_.depth) +
                       " levels of maps and lists");
  }
  return !failed_;
}

void TreeBuilder::Key(std::string key, Position position) {
  if (failed_) return;
  Open& map = open_.back();
  map.key = std::move(key);
  map.key_position = position;
  map.expects_key = false;
}

void TreeBuilder::Scalar(Node node) {
  if (Count(1, 0, node.position)) Attach(std::move(node));
}

void TreeBuilder::Begin(Node::Kind kind, Position position) {
  if (!Count(1, 1, position)) return;
  Open& open = open_.emplace_back();
  open.node.kind = kind;
  open.node.position = position;
  open.expects_key = kind == Node::Kind::kMap;
}

void TreeBuilder::End() {
  if (failed_) return;
  Node node = std::move(open_.back().node);
  open_.pop_back();
  if (node.is_map() && !CheckUniqueKeys(node, diagnostics_)) repeated_ = true;
  Attach(std::move(node));
}

bool TreeBuilder::Account(const Node& node, Position position) {
  const Size size = Measure(node);
  return Count(size.nodes, size.depth, position);
}

void TreeBuilder::Copy(const Node& node, Position position) {
  if (Account(node, position)) Attach(node);
}

void TreeBuilder::Attach(Node node) {
  if (open_.empty()) {
    root_ = std::move(node);
    has_root_ = true;
    last_ = &root_;
    return;
  }
  Open& parent = open_.back();
  if (parent.node.is_list()) {
    last_ = &parent.node.items.emplace_back(std::move(node));
    return;
  }
  parent.node.entries.push_back({std::move(parent.key), parent.key_position, std::move(node)});
  last_ = &parent.node.entries.back().value;
  parent.expects_key = true;
}

bool CheckUniqueKeys(const Node& map, Diagnostics& diagnostics) {
  const std::vector<Entry>& entries = map.entries;
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int compared = entries[a].key.compare(entries[b].key);
    return compared != 0 ? compared < 0 : a < b;
  });
  bool unique = true;
  size_t first = 0;  // index into `order` of the first of a run of equal keys
  for (size_t i = 1; i < order.size(); ++i) {
    const Entry& original = entries[order[first]];
    const Entry& entry = entries[order[i]];
    if (entry.key != original.key) {
      first = i;
      continue;
    }
    unique = false;
    diagnostics.Add(entry.key_position, {}, "the key \"" + entry.key + "\" is there twice",
                    "the first is at " + diagnostics.Locate(original.key_position));
  }
  return unique;
}

bool CheckText(std::string_view text, uint32_t file, const TreeLimits& limits,
               Diagnostics& diagnostics) {
  if (text.size() > limits.bytes) {
    diagnostics.Add({file, 0, 0}, {},
                    "the file is too large: expected at most " + std::to_string(limits.bytes) +
                        " bytes, got " + std::to_string(text.size()));
    return false;
  }
  PositionTracker tracker(text, file);
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : Utf8Length(text.substr(i));
    if (length == 0) {
      diagnostics.Add(tracker.At(i), {}, "expected UTF-8 text, got the byte " + HexByte(byte));
      return false;
    }
    const bool lone_return = byte == '\r' && !text.substr(i + 1).starts_with('\n');
    const bool c1_control = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f ||
        lone_return || c1_control) {
      diagnostics.Add(tracker.At(i), {},
                      "expected text without control characters, got the byte " + HexByte(byte));
      return false;
    }
    i += length;
  }
  return true;
}

Position PositionTracker::At(size_t offset) {
  offset = std::min(offset, text_.size());
  for (; offset_ < offset; ++offset_) {
    if (text_[offset_] == '\n') {
      ++line_;
      column_ = 1;
    } else if (offset_ + 1 >= text_.size() ||
               (static_cast<unsigned char>(text_[offset_ + 1]) & 0xc0) != 0x80) {
      ++column_;
    }
  }
  return {file_, line_, column_};
}

}  // namespace sluice::conf
