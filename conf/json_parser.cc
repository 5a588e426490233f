// JSON by rapidjson's iterative reader: RFC 8259 with validated UTF-8, so that nesting costs no
// stack. rapidjson tells only where it stands after a token; where the token began is found by
// skipping the white space and punctuation after the one before.
#include <cmath>
#include <string>
#include <utility>

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include "conf/config_tree.h"
#include "conf/tree_builder.h"
#include "gateway/base/text.h"

namespace sluice::conf {
namespace {

namespace rj = rapidjson;

constexpr unsigned kFlags =
    rj::kParseIterativeFlag | rj::kParseValidateEncodingFlag | rj::kParseNumbersAsStringsFlag;

class JsonEvents {
 public:
  JsonEvents(std::string_view text, uint32_t file, const rj::MemoryStream& stream,
             TreeBuilder& builder)
      : text_(text), stream_(stream), tracker_(text, file), builder_(builder) {}

  bool Null() { return Scalar({}); }
  bool Bool(bool value) {
    Node node;
    node.kind = Node::Kind::kBool;
    node.boolean = value;
    node.text = value ? "true" : "false";
    return Scalar(std::move(node));
  }
  bool RawNumber(const char* text, rj::SizeType size, bool) {
    const Position position = Start();
    // The grammar was checked: every JSON number is a number of the core schema too.
    Node node = ReadPlainScalar(std::string(text, size), position);
    node.plain = false;
    if (!std::isfinite(node.number)) {
      builder_.Fail(position, "expected a number in the range of a double, got " + node.text);
      return false;
    }
    builder_.Scalar(std::move(node));
    return !builder_.failed();
  }
  bool String(const char* text, rj::SizeType size, bool) {
    Node node;
    node.kind = Node::Kind::kString;
    node.text.assign(text, size);
    node.position = Start();
    if (!CheckUnicode(node.text, node.position)) return false;
    builder_.Scalar(std::move(node));
    return !builder_.failed();
  }
  bool Key(const char* text, rj::SizeType size, bool) {
    std::string key(text, size);
    const Position position = Start();
    if (!CheckUnicode(key, position)) return false;
    builder_.Key(std::move(key), position);
    return !builder_.failed();
  }
  bool StartObject() {
    builder_.BeginMap(Bracket());
    return !builder_.failed();
  }
  bool StartArray() {
    builder_.BeginList(Bracket());
    return !builder_.failed();
  }
  bool EndObject(rj::SizeType) { return End(); }
  bool EndArray(rj::SizeType) { return End(); }

  // Never called: numbers come as text.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }

 private:
  // rapidjson lets a low surrogate pass that no high one precedes ("\\ude00").
  bool CheckUnicode(std::string_view text, Position position) {
    if (IsUtf8(text)) return true;
    builder_.Fail(position, "expected Unicode text, got half of a surrogate pair");
    return false;
  }
  Position Start() {
    const size_t start = text_.find_first_not_of(" \t\r\n,:", end_);
    end_ = stream_.Tell();
    return tracker_.At(start);
  }
  // A bracket is told before it is taken from the stream.
  Position Bracket() {
    end_ = stream_.Tell() + 1;
    return tracker_.At(stream_.Tell());
  }
  bool Scalar(Node node) {
    node.position = Start();
    builder_.Scalar(std::move(node));
    return !builder_.failed();
  }
  bool End() {
    Bracket();
    builder_.End();
    return !builder_.failed();
  }

  std::string_view text_;
  const rj::MemoryStream& stream_;
  PositionTracker tracker_;
  TreeBuilder& builder_;
  size_t end_ = 0;  // offset after the token before
};

}  // namespace

Node ParseJson(std::string_view text, uint32_t file, Diagnostics& diagnostics,
               const TreeLimits& limits) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (!CheckText(text, file, limits, diagnostics)) return {};
  rj::MemoryStream stream(text.data(), text.size());
  TreeBuilder builder(diagnostics, limits);
  JsonEvents events(text, file, stream, builder);
  rj::Reader reader;
  const rj::ParseResult result = reader.Parse<kFlags>(stream, events);
  if (result.IsError() && !builder.failed()) {
    const Position position = PositionTracker(text, file).At(result.Offset());
    builder.Fail(position, std::string("not JSON: ") + rj::GetParseError_En(result.Code()));
  }
  return builder.complete() ? builder.TakeRoot() : Node{};
}

}  // namespace sluice::conf
