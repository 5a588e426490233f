// YAML by yaml-cpp's event interface. yaml-cpp 0.7 lets through what a configuration must not
// contain; each gap is closed here, by the text before parsing or by the place of an event.
#include <cmath>
#include <istream>
#include <streambuf>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "conf/config_tree.h"
#include "conf/tree_builder.h"

namespace sluice::conf {
namespace {

using YAML::anchor_t;
using YAML::EmitterStyle;
using YAML::Mark;

constexpr std::string_view kPlainTag = "?";  // no tag in the source, no quotes
constexpr std::string_view kQuotedTag = "!";

// Reads a string_view without the copy that a stringstream would make.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // NOLINT: only read from
    setg(begin, begin, begin + text.size());
  }
};

class YamlEvents final : public YAML::EventHandler {
 public:
  YamlEvents(std::string_view text, uint32_t file, TreeBuilder& builder)
      : text_(text), tracker_(text, file), builder_(builder) {}

  void OnDocumentStart(const Mark& mark) override {
    if (++documents_ < 2 || builder_.failed()) return;
    builder_.Fail(At(mark), "expected the end of the document, got more content",
                  "a file holds one document; check the indentation of this line");
  }
  void OnDocumentEnd() override {}
  void OnNull(const Mark& mark, anchor_t anchor) override;
  void OnAlias(const Mark& mark, anchor_t anchor) override;
  void OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor,
                const std::string& value) override;
  void OnSequenceStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                       EmitterStyle::value style) override {
    if (Enter(mark, tag, anchor, style)) builder_.BeginList(At(mark));
  }
  void OnSequenceEnd() override { Leave(); }
  void OnMapStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                  EmitterStyle::value style) override {
    if (Enter(mark, tag, anchor, style)) builder_.BeginMap(At(mark));
  }
  void OnMapEnd() override { Leave(); }

 private:
  struct Open {
    anchor_t anchor;
    bool flow;
  };

  Position At(const Mark& mark) { return tracker_.At(Offset(mark)); }
  size_t Offset(const Mark& mark) const {
    return mark.pos < 0 ? text_.size() : static_cast<size_t>(mark.pos);
  }
  bool Enter(const Mark& mark, const std::string& tag, anchor_t anchor, EmitterStyle::value style);
  void Leave();
  bool CheckIndentation(const Mark& mark);
  bool CheckTag(const Mark& mark, const std::string& tag);
  void Remember(anchor_t anchor);

  std::string_view text_;
  PositionTracker tracker_;
  TreeBuilder& builder_;
  std::vector<Open> open_;
  std::unordered_map<anchor_t, Node> anchors_;
  int documents_ = 0;
};

void YamlEvents::OnNull(const Mark& mark, anchor_t anchor) {
  if (builder_.failed() || !CheckIndentation(mark)) return;
  const size_t offset = Offset(mark);
  const bool written = offset < text_.size() &&
                       std::string_view("~nN").find(text_[offset]) != std::string_view::npos;
  if (builder_.expects_key()) {
    builder_.Fail(At(mark), "expected text as a key, got nothing");
    return;
  }
  if (!written && !open_.empty() && open_.back().flow) {
    builder_.Fail(At(mark), "expected a value, got nothing", "write null if that is meant");
    return;
  }
  // The mark of a value that is not there is that of whatever comes next.
  const Position position = !written && builder_.in_map() ? builder_.key_position() : At(mark);
  builder_.Scalar(ReadPlainScalar({}, position));
  Remember(anchor);
}

void YamlEvents::OnAlias(const Mark& mark, anchor_t anchor) {
  if (builder_.failed() || !CheckIndentation(mark)) return;
  const auto found = anchors_.find(anchor);
  if (builder_.expects_key()) {
    builder_.Fail(At(mark), "expected text as a key, got an alias");
  } else if (found == anchors_.end()) {
    builder_.Fail(At(mark), "an alias cannot stand for something that it is itself a part of");
  } else {
    builder_.Copy(found->second, At(mark));
  }
}

void YamlEvents::OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor,
                          const std::string& value) {
  if (builder_.failed() || !CheckIndentation(mark) || !CheckTag(mark, tag)) return;
  const Position position = At(mark);
  if (builder_.expects_key()) {
    if (anchor != 0) {
      builder_.Fail(position, "an anchor cannot stand on a key");
    } else if (value == "<<" && tag == kPlainTag) {
      builder_.Fail(position, "merge keys (<<) are not part of YAML 1.2", "repeat the values");
    } else {
      builder_.Key(value, position);
    }
    return;
  }
  Node node;
  if (tag == kPlainTag) {
    node = ReadPlainScalar(value, position);
    if (!std::isfinite(node.number)) {
      builder_.Fail(position, "expected a finite number in the range of a double, got " + value,
                    "write it in quotes if text is meant");
      return;
    }
  } else {
    node.kind = Node::Kind::kString;
    node.text = value;
    node.position = position;
  }
  builder_.Scalar(std::move(node));
  Remember(anchor);
}

bool YamlEvents::Enter(const Mark& mark, const std::string& tag, anchor_t anchor,
                       EmitterStyle::value style) {
  open_.push_back({anchor, style == EmitterStyle::Flow});
  if (builder_.failed() || !CheckIndentation(mark) || !CheckTag(mark, tag)) return false;
  if (!builder_.expects_key()) return true;
  builder_.Fail(At(mark), "expected text as a key, got a map or a list");
  return false;
}

void YamlEvents::Leave() {
  const anchor_t anchor = open_.back().anchor;
  open_.pop_back();
  builder_.End();
  Remember(anchor);
}

void YamlEvents::Remember(anchor_t anchor) {
  if (anchor == 0 || builder_.failed()) return;
  const Node& node = builder_.last_value();
  if (builder_.Account(node, node.position)) anchors_[anchor] = node;
}

// yaml-cpp counts a tab in an indentation as one space. The mark is that of a key or value, so what
// stands before it on its line can only be indentation when it has none but these characters.
bool YamlEvents::CheckIndentation(const Mark& mark) {
  const std::string_view before = text_.substr(0, Offset(mark));
  const size_t last = before.find_last_not_of(" \t-?:");
  if (last != std::string_view::npos && before[last] != '\n') return true;
  const size_t start = last == std::string_view::npos ? 0 : last + 1;
  const size_t tab = before.find('\t', start);
  if (tab == std::string_view::npos) return true;
  builder_.Fail(tracker_.At(tab), "expected spaces as indentation, got a tab");
  return false;
}

bool YamlEvents::CheckTag(const Mark& mark, const std::string& tag) {
  if (tag == kPlainTag || tag == kQuotedTag) return true;
  builder_.Fail(At(mark), "tags such as !!str are not supported, got " + tag,
                "write text in quotes");
  return false;
}

// Directives could change what tags mean, or announce another version; yaml-cpp ignores most.
bool CheckDirectives(std::string_view text, uint32_t file, Diagnostics& diagnostics) {
  uint32_t line = 1;
  while (!text.empty()) {
    const std::string_view content = text.substr(0, text.find('\n'));
    if (content.starts_with('%')) {
      diagnostics.Add({file, line, 1}, {}, "YAML directives (%) are not supported");
      return false;
    }
    const size_t first = content.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && content[first] != '#') return true;
    text.remove_prefix(std::min(text.size(), content.size() + 1));
    ++line;
  }
  return true;
}

void FailToParse(const YAML::ParserException& error, std::string_view text, uint32_t file,
                 TreeBuilder& builder) {
  const bool unclosed =
      error.msg == "end of sequence flow not found" || error.msg == "end of map flow not found";
  if (unclosed && builder.is_open()) {
    builder.Fail(builder.open_position(),
                 "not YAML: this list or map in brackets is not continued by a comma or closed");
    return;
  }
  const size_t offset = error.mark.is_null() ? 0 : static_cast<size_t>(error.mark.pos);
  builder.Fail(PositionTracker(text, file).At(offset), "not YAML: " + error.msg);
}

}  // namespace

Node ParseYaml(std::string_view text, uint32_t file, Diagnostics& diagnostics,
               const TreeLimits& limits) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (!CheckText(text, file, limits, diagnostics)) return {};
  if (!CheckDirectives(text, file, diagnostics)) return {};
  TreeBuilder builder(diagnostics, limits);
  YamlEvents events(text, file, builder);
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events) && !builder.failed()) {
    }
  } catch (const YAML::ParserException& error) {
    FailToParse(error, text, file, builder);
  } catch (const std::exception& error) {
    builder.Fail({file, 0, 0}, std::string("not YAML: ") + error.what());
  }
  if (builder.empty()) return ReadPlainScalar({}, {file, 1, 1});
  return builder.complete() ? builder.TakeRoot() : Node{};
}

}  // namespace sluice::conf
