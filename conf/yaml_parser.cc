// YAML by yaml-cpp's event interface. yaml-cpp 0.7 lets through what a configuration must not
// contain; each gap is closed here, by the text before parsing or by the place of an event.
#include <algorithm>
#include <cmath>
#include <istream>
#include <optional>
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

constexpr std::string_view kPlainTag = "?";   // no tag in the source, no quotes
constexpr std::string_view kQuotedTag = "!";  // quoted or a block scalar
constexpr std::string_view kAnchorName =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

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
  bool CheckDepth(const Mark& mark);
  std::optional<size_t> Content(const Mark& mark, const std::string& tag);
  std::optional<size_t> EndOfQuoted(size_t start);
  void Key(size_t start, const std::string& value, anchor_t anchor, Position position);
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
  if (builder_.expects_key() || anchor != 0) {
    builder_.Fail(At(mark), builder_.expects_key() ? "expected text as a key, got nothing"
                                                   : "expected a value after the anchor");
    return;
  }
  if (!written && !open_.empty() && open_.back().flow) {
    builder_.Fail(At(mark), "expected a value, got nothing", "write null if that is meant");
    return;
  }
  // The mark of a value that is not there is that of whatever comes next.
  const Position position = !written && builder_.in_map() ? builder_.key_position() : At(mark);
  builder_.Scalar(ReadPlainScalar({}, position));
}

void YamlEvents::OnAlias(const Mark& mark, anchor_t anchor) {
  if (builder_.failed() || !CheckIndentation(mark)) return;
  const auto found = anchors_.find(anchor);
  if (builder_.expects_key()) {
    builder_.Fail(At(mark), "expected text as a key, got an alias");
  } else if (found == anchors_.end()) {
    builder_.Fail(At(mark), "an alias cannot stand for something that it is itself a part of");
  } else if (CheckDepth(mark)) {
    builder_.Copy(found->second, At(mark));
  }
}

void YamlEvents::OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor,
                          const std::string& value) {
  if (builder_.failed() || !CheckIndentation(mark)) return;
  const Position position = At(mark);
  const auto start = Content(mark, tag);
  if (!start) return;
  if (builder_.expects_key()) {
    Key(*start, value, anchor, position);
    return;
  }
  if (!CheckDepth(mark)) return;
  Node node;
  if (tag == kPlainTag) {
    node = ReadPlainScalar(value, position);
    if (!std::isfinite(node.number)) {
      builder_.Fail(position, "expected a finite number in the range of a double, got " + value,
                    "write it in quotes if text is meant");
      return;
    }
  } else {
    if (!EndOfQuoted(*start)) return;
    node.kind = Node::Kind::kString;
    node.text = value;
    node.position = position;
  }
  builder_.Scalar(std::move(node));
  Remember(anchor);
}

// A key stands on one line and its colon behind it: yaml-cpp takes a line without a colon for a key
// without a value.
void YamlEvents::Key(size_t start, const std::string& value, anchor_t anchor, Position position) {
  size_t end = start + value.size();
  if (text_[start] == '"' || text_[start] == '\'') {
    const auto quoted = EndOfQuoted(start);
    if (!quoted) return;
    end = *quoted;
  }
  const size_t next = text_.find_first_not_of(" \t", end);
  if (next == std::string_view::npos || text_[next] != ':') {
    builder_.Fail(position, "expected `key: value`, got no colon after the key",
                  "a colon needs a space behind it");
  } else if (anchor != 0) {
    builder_.Fail(position, "an anchor cannot stand on a key");
  } else if (value == "<<") {
    builder_.Fail(position, "merge keys (<<) are not part of YAML 1.2", "repeat the values");
  } else {
    builder_.Key(value, position);
  }
}

bool YamlEvents::Enter(const Mark& mark, const std::string& tag, anchor_t anchor,
                       EmitterStyle::value style) {
  const bool flow = style == EmitterStyle::Flow;
  // A list of dashes may stand as deep as its key.
  const bool valid = !builder_.failed() && CheckIndentation(mark) && Content(mark, tag) &&
                     (builder_.expects_key() || !flow || CheckDepth(mark));
  open_.push_back({anchor, flow});
  if (valid && builder_.expects_key()) {
    builder_.Fail(At(mark), "expected text as a key, got a map or a list",
                  flow ? "is a bracket or a quote not closed?" : "");
  }
  return !builder_.failed();
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

// A value below its key must be indented deeper; yaml-cpp takes any line.
bool YamlEvents::CheckDepth(const Mark& mark) {
  if (!builder_.in_map()) return true;
  const Position key = builder_.key_position();
  const Position value = At(mark);
  if (value.line == key.line || value.column > key.column || open_.back().flow) return true;
  builder_.Fail(value, "expected a value that is indented deeper than its key");
  return false;
}

// Where a value begins in the text, behind its anchor. yaml-cpp takes nearly anything for the name
// of an anchor, which then swallows a quote or a colon; tags are not supported.
std::optional<size_t> YamlEvents::Content(const Mark& mark, const std::string& tag) {
  size_t start = Offset(mark);
  if (start < text_.size() && text_[start] == '&') {
    start = text_.find_first_not_of(kAnchorName, start + 1);
    if (start == std::string_view::npos || !IsBlank(text_[start])) {
      builder_.Fail(At(mark), "expected an anchor of letters, digits, '-' and '_', then a space");
      return std::nullopt;
    }
    start = std::min(text_.find_first_not_of(" \t\r\n", start), text_.size());
  }
  const bool tagged =
      (tag != kPlainTag && tag != kQuotedTag) || (start < text_.size() && text_[start] == '!');
  if (!tagged) return start;
  builder_.Fail(At(mark), "tags such as !!str are not supported", "write text in quotes");
  return std::nullopt;
}

// The offset after the closing quote; that of a block scalar is not needed and is its start.
// yaml-cpp lets the end of the file close a quote.
std::optional<size_t> YamlEvents::EndOfQuoted(size_t start) {
  const char quote = text_[start];
  if (quote != '"' && quote != '\'') return start;
  for (size_t i = start + 1; i < text_.size(); ++i) {
    if (text_[i] == '\\' && quote == '"') {
      if (text_.substr(++i).starts_with('\'')) {
        builder_.Fail(tracker_.At(start), "\\' is no escape of YAML", "write ' alone");
        return std::nullopt;
      }
    } else if (text_[i] == quote) {
      const bool doubled = quote == '\'' && text_.substr(i + 1).starts_with(quote);
      if (!doubled) return i + 1;
      ++i;
    }
  }
  builder_.Fail(tracker_.At(start), "this quote is never closed");
  return std::nullopt;
}

// Directives could change what tags mean, or announce another version. yaml-cpp ignores most of
// them, and takes a line that begins with % for one even in the middle of a document.
bool CheckDirectives(std::string_view text, uint32_t file, Diagnostics& diagnostics) {
  const size_t found = text.starts_with('%') ? 0 : text.find("\n%");
  if (found == std::string_view::npos) return true;
  const Position position = PositionTracker(text, file).At(found == 0 ? 0 : found + 1);
  diagnostics.Add(position, {}, "YAML directives (%) are not supported");
  return false;
}

// What yaml-cpp says, in words that tell what it expected.
struct Wording {
  std::string_view theirs, ours, hint;
};

constexpr Wording kWordings[] = {
    {"illegal map value", "a colon cannot stand here",
     "the line before may lack its colon; text with a colon and a space needs quotes"},
    {"illegal map key", "a key cannot stand here", "check the indentation of this line"},
    {"illegal block entry", "a dash cannot stand here", "a list begins on a line of its own"},
    {"end of map not found", "expected the next key of the map, or its end",
     "check the indentation of this line"},
    {"end of sequence not found", "expected the next dash of the list, or its end",
     "check the indentation of this line"},
    {"illegal tab when looking for indentation", "expected spaces as indentation, got a tab", ""},
    {"unknown token", "expected a value, got a character that cannot begin one",
     "text that begins with @, ` or % needs quotes"},
    {"the referenced anchor is not defined", "expected an anchor that is defined before", ""},
    {"illegal flow end", "this bracket closes nothing", ""},
};

void FailToParse(const YAML::ParserException& error, std::string_view text, uint32_t file,
                 TreeBuilder& builder) {
  const bool unclosed =
      error.msg == "end of sequence flow not found" || error.msg == "end of map flow not found";
  if (unclosed && builder.is_open()) {
    builder.Fail(builder.open_position(),
                 "expected a comma or the closing bracket of this list or map");
    return;
  }
  const size_t offset = error.mark.is_null() ? 0 : static_cast<size_t>(error.mark.pos);
  const Position position = PositionTracker(text, file).At(offset);
  for (const Wording& wording : kWordings) {
    if (wording.theirs != error.msg) continue;
    builder.Fail(position, std::string(wording.ours), std::string(wording.hint));
    return;
  }
  builder.Fail(position, "not YAML: " + error.msg);
}

}  // namespace

Node ParseYaml(std::string_view text, uint32_t file, Diagnostics& diagnostics,
               const TreeLimits& limits) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  // Blanks that no line end follows would become part of a block scalar.
  text = text.substr(0, text.find_last_not_of(" \t") + 1);
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
