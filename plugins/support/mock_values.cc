#include "plugins/support/mock_values.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "conf/types.h"
#include "gateway/base/json_writer.h"
#include "gateway/base/text.h"
#include "plugins/support/templates.h"

namespace sluice::plugins {
namespace {

constexpr size_t kMostItems = 3;               // of a list
constexpr size_t kMostValues = 10'000;         // in all, when every list is as long as it can be
constexpr size_t kMostText = size_t{1} << 20;  // then texts are empty: they may be variables
constexpr std::string_view kRoot = "data";

uint64_t Below(RequestContext& request, uint64_t limit) {
  return request.services().Random() % limit;
}

bool IsXmlName(std::string_view name) {
  const auto is_first = [](char c) {
    return c == '_' || (AsciiLower(c) >= 'a' && AsciiLower(c) <= 'z');
  };
  return !name.empty() && is_first(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return is_first(c) || IsDigit(c) || c == '-' || c == '.';
  });
}

void AppendXmlText(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else {
      const bool is_control = static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n';
      out += is_control ? ' ' : c;
    }
  }
}

std::string NumberText(double value) {
  std::string text;
  JsonWriter(text).Number(value);
  return text;
}

}  // namespace

std::unique_ptr<const MockValue> MockValue::Make(const conf::Place& schema, Form form) {
  auto made = std::make_unique<MockValue>();
  made->form_ = form;
  size_t budget = kMostValues;
  if (!made->Compile(schema, true, budget)) return nullptr;
  return made;
}

// `budget`: how many values this one may become. Each item of a list is counted as often as there
// may be one.
bool MockValue::Compile(const conf::Place& schema, bool is_root, size_t& budget) {
  static constexpr std::array<std::pair<std::string_view, Type>, 6> kTypes = {{
      {"object", Type::kObject},
      {"array", Type::kArray},
      {"string", Type::kString},
      {"number", Type::kNumber},
      {"integer", Type::kInteger},
      {"boolean", Type::kBoolean},
  }};
  const conf::Node* const type = schema.node.Find("type");
  const auto* const found = std::find_if(kTypes.begin(), kTypes.end(), [type](const auto& each) {
    return type != nullptr && type->is_string() && EqualsIgnoreCase(each.first, type->text);
  });
  if (found == kTypes.end() && !(is_root && type == nullptr)) {
    schema.Fail("expected a schema with a type: object, array, string, number, integer or boolean");
    return false;
  }
  if (found != kTypes.end()) type_ = found->second;
  if (budget == 0) {
    schema.Fail("expected a schema of at most " + std::to_string(kMostValues) + " values, with " +
                std::to_string(kMostItems) + " items in each list");
    return false;
  }
  --budget;
  const bool is_list = type_ == Type::kArray;
  if (type_ != Type::kObject && !is_list) return CompileExample(schema);
  const std::string_view field = is_list ? "items" : "properties";
  const conf::Node* const inner = schema.node.Find(field);
  if (inner == nullptr) return true;
  const conf::Place place{*inner, schema.diagnostics, &schema, field};
  if (!inner->is_map()) {
    place.Expected("a map");
    return false;
  }
  if (is_list) {
    size_t share = budget / kMostItems;
    const size_t before = share;
    if (!members_.emplace_back().second.Compile(place, false, share)) return false;
    budget -= (before - share) * kMostItems;
    return true;
  }
  for (const conf::Entry& entry : inner->entries) {
    if (form_ == Form::kXml && !IsXmlName(entry.key)) {
      place.Of(entry).FailAt(entry.key_position, "expected a name that XML allows");
      return false;
    }
    MockValue& member = members_.emplace_back(entry.key, MockValue()).second;
    member.form_ = form_;
    if (!member.Compile(place.Of(entry), false, budget)) return false;
  }
  return true;
}

// An example of another type is not used, as APISIX does.
bool MockValue::CompileExample(const conf::Place& schema) {
  const conf::Node* const example = schema.node.Find("example");
  if (example == nullptr) return true;
  const bool is_number =
      example->kind == conf::Node::Kind::kNumber || example->kind == conf::Node::Kind::kInteger;
  if (type_ == Type::kString && example->is_string()) {
    auto text = MakeTemplate(example->text);
    if (!text.has_value()) {
      schema.Fail("example: " + text.error().detail);
      return false;
    }
    text_ = *std::move(text);
    has_example_ = true;
  } else if (type_ == Type::kBoolean && example->kind == conf::Node::Kind::kBool) {
    scalar_ = example->boolean ? "true" : "false";
    has_example_ = true;
  } else if ((type_ == Type::kNumber || type_ == Type::kInteger) && is_number) {
    scalar_ = NumberText(type_ == Type::kNumber ? example->number : std::floor(example->number));
    has_example_ = true;
  }
  return true;
}

std::string MockValue::Scalar(RequestContext& request) const {
  switch (type_) {
    case Type::kString: {
      if (has_example_) return std::string(request.Expand(text_));
      std::string text(1 + Below(request, 10), ' ');
      for (char& c : text) c = static_cast<char>('a' + Below(request, 26));
      return text;
    }
    case Type::kNumber:
      if (has_example_) return scalar_;
      return NumberText(static_cast<double>(Below(request, 1'000'000'000)) / 100'000);
    case Type::kInteger:
      return has_example_ ? scalar_ : std::to_string(1 + Below(request, 10'000));
    default:
      if (has_example_) return scalar_;
      return Below(request, 2) == 0 ? "false" : "true";
  }
}

void MockValue::WriteJson(RequestContext& request, std::string& out) const {
  if (type_ == Type::kObject) {
    out += '{';
    for (const auto& [name, value] : members_) {
      if (out.back() != '{') out += ',';
      JsonWriter(out).String(name);
      out += ':';
      value.WriteJson(request, out);
    }
    out += '}';
  } else if (type_ == Type::kArray) {
    const size_t count = members_.empty() ? 0 : 1 + Below(request, kMostItems);
    out += '[';
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out += ',';
      members_[0].second.WriteJson(request, out);
    }
    out += ']';
  } else if (type_ == Type::kString) {
    JsonWriter(out).String(out.size() < kMostText ? Scalar(request) : std::string());
  } else {
    out += Scalar(request);
  }
}

// The items of a list are elements of its name.
void MockValue::WriteXml(RequestContext& request, std::string_view name, std::string& out) const {
  if (type_ == Type::kArray) {
    const size_t count = members_.empty() ? 0 : 1 + Below(request, kMostItems);
    for (size_t i = 0; i < count; ++i) members_[0].second.WriteXml(request, name, out);
    return;
  }
  out.append("<").append(name).append(">");
  if (type_ == Type::kObject) {
    for (const auto& [inner, value] : members_) value.WriteXml(request, inner, out);
  } else {
    if (out.size() < kMostText) AppendXmlText(out, Scalar(request));
  }
  out.append("</").append(name).append(">");
}

std::string MockValue::Generate(RequestContext& request) const {
  std::string out;
  if (form_ == Form::kJson) {
    WriteJson(request, out);
  } else if (type_ == Type::kArray) {
    out.append("<").append(kRoot).append(">");
    WriteXml(request, "item", out);
    out.append("</").append(kRoot).append(">");
  } else {
    WriteXml(request, kRoot, out);
  }
  return out;
}

}  // namespace sluice::plugins
