#include "plugins/support/flat_json.h"

#include <array>
#include <cstring>
#include <string>
#include <utility>

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include "gateway/base/text.h"

namespace sluice::plugins {
namespace {

namespace rj = rapidjson;

Error Malformed(std::string detail) {
  return ClientError(ErrorCode::kMalformedRequest, std::move(detail));
}

}  // namespace

// The iterative reader: nesting costs no stack of ours, and the one on the heap is kept.
struct FlatJson::Reader {
  rj::Reader reader;
};

class FlatJson::Events {
 public:
  // Without a backslash texts are as they were sent, and were checked together.
  Events(std::vector<Value>& values, bool escapes) : values_(values), escapes_(escapes) {}

  bool Null() { return Add(Kind::kNull) != nullptr; }
  bool Bool(bool boolean) {
    Value* const value = Add(Kind::kBool);
    if (value != nullptr) value->boolean = boolean;
    return value != nullptr;
  }
  bool Int(int number) { return Int64(number); }
  bool Uint(unsigned number) { return Int64(number); }
  bool Int64(int64_t number) {
    Value* const value = Add(Kind::kInteger);
    if (value != nullptr) value->integer = number;
    return value != nullptr;
  }
  bool Uint64(uint64_t number) {  // only called when it is too large for Int64
    return std::in_range<int64_t>(number) ? Int64(static_cast<int64_t>(number))
                                          : Double(static_cast<double>(number));
  }
  bool Double(double number) {
    Value* const value = Add(Kind::kNumber);
    if (value != nullptr) value->number = number;
    return value != nullptr;
  }
  bool RawNumber(const char*, rj::SizeType, bool) { return false; }  // never called
  bool String(const char* text, rj::SizeType size, bool) {
    if (!CheckText({text, size})) return false;
    Value* const value = Add(Kind::kString);
    if (value != nullptr) value->text = {text, size};
    return value != nullptr;
  }
  bool Key(const char* text, rj::SizeType size, bool) {
    name_ = {text, size};
    if (!CheckText(name_)) return false;
    const uint32_t map = open_[depth_ - 1];
    for (uint32_t i = map + 1; i < values_.size(); i = values_[i].end) {
      if (values_[i].name == name_) {
        return Refuse("expected each member once, got \"" + std::string(name_.substr(0, 64)) +
                      "\" again");
      }
    }
    return true;
  }
  bool StartObject() { return Open(Kind::kMap); }
  bool StartArray() { return Open(Kind::kList); }
  bool EndObject(rj::SizeType) { return Close(); }
  bool EndArray(rj::SizeType) { return Close(); }

  const std::string& refusal() const { return refusal_; }

 private:
  bool Refuse(std::string detail) {
    refusal_ = std::move(detail);
    return false;
  }
  // rapidjson lets a low surrogate pass that no high one precedes ("\\ude00"). NUL is refused
  // because what ends a text for C ends a check of it.
  bool CheckText(std::string_view text) {
    if (!escapes_) return true;
    if (text.find('\0') != std::string_view::npos) return Refuse("expected text, got one with NUL");
    return IsUtf8(text) || Refuse("expected Unicode text, got half of a surrogate pair");
  }
  Value* Add(Kind kind) {
    if (values_.empty() && kind != Kind::kMap) {
      Refuse("expected an object, got " + std::string(KindName(kind)));
      return nullptr;
    }
    if (values_.size() == kMaxValues) {
      Refuse("expected at most " + std::to_string(kMaxValues) + " values, got more");
      return nullptr;
    }
    Value& value = values_.emplace_back();
    value.kind = kind;
    value.end = static_cast<uint32_t>(values_.size());
    value.name = std::exchange(name_, {});
    return &value;
  }
  bool Open(Kind kind) {
    if (depth_ == kMaxDepth) {
      return Refuse("expected at most " + std::to_string(kMaxDepth) + " levels, got more");
    }
    if (Add(kind) == nullptr) return false;
    open_[depth_++] = static_cast<uint32_t>(values_.size() - 1);
    return true;
  }
  bool Close() {
    values_[open_[--depth_]].end = static_cast<uint32_t>(values_.size());
    return true;
  }

  std::vector<Value>& values_;
  const bool escapes_;
  std::array<uint32_t, kMaxDepth> open_{};  // indexes of the lists and maps that are open
  size_t depth_ = 0;
  std::string_view name_;  // of the value that comes next
  std::string refusal_;
};

FlatJson::FlatJson() : reader_(std::make_unique<Reader>()) {}
FlatJson::~FlatJson() = default;
FlatJson::FlatJson(FlatJson&&) noexcept = default;
FlatJson& FlatJson::operator=(FlatJson&&) noexcept = default;

Status FlatJson::Parse(char* text, size_t size) {
  SLUICE_CHECK(text[size] == '\0');
  values_.clear();
  const std::string_view view(text, size);
  // The reader takes NUL for the end, and would not look at what follows.
  if (view.find('\0') != std::string_view::npos) {
    return Malformed("expected JSON, got a NUL byte");
  }
  if (!IsUtf8(view)) return Malformed("expected UTF-8, got other bytes");
  Events events(values_, view.find('\\') != std::string_view::npos);
  rj::InsituStringStream stream(text);
  const rj::ParseResult result =
      reader_->reader.Parse<rj::kParseInsituFlag | rj::kParseIterativeFlag>(stream, events);
  if (!result.IsError()) return {};
  values_.clear();
  if (!events.refusal().empty()) return Malformed(events.refusal());
  return Malformed(std::string("expected JSON, got a fault at byte ") +
                   std::to_string(result.Offset()) + ": " + rj::GetParseError_En(result.Code()));
}

const FlatJson::Value* FlatJson::Find(std::string_view name) const {
  return values_.empty() ? nullptr : Find(values_.front(), name);
}

const FlatJson::Value* FlatJson::Find(const Value& map, std::string_view name) const {
  if (map.kind != Kind::kMap) return nullptr;
  for (const Value* at = First(map); at != nullptr; at = Next(map, *at)) {
    if (at->name == name) return at;
  }
  return nullptr;
}

const FlatJson::Value* FlatJson::First(const Value& outer) const {
  const auto index = static_cast<size_t>(&outer - values_.data());
  return index + 1 < outer.end ? &values_[index + 1] : nullptr;
}

const FlatJson::Value* FlatJson::Next(const Value& outer, const Value& inner) const {
  return inner.end < outer.end ? &values_[inner.end] : nullptr;
}

std::string_view KindName(FlatJson::Kind kind) {
  constexpr std::string_view kNames[] = {"null", "true or false", "a whole number", "a number",
                                         "text", "a list",        "an object"};
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace sluice::plugins
