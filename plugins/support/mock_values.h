// Values made up after a JSON Schema, for mocking: of each property an example, where there is one,
// otherwise something random of its type. Compiled once; what it can grow to is bounded then.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/schema.h"
#include "gateway/http/text_template.h"
#include "gateway/plugin/request_context.h"

namespace sluice::plugins {

class MockValue {
 public:
  enum class Form : uint8_t { kJson, kXml };

  // Null when the schema is refused, which is said at its place. A schema without a type is an
  // object's. Texts may have $variables.
  static std::unique_ptr<const MockValue> Make(const conf::Place& schema, Form form);

  std::string Generate(RequestContext& request) const;

 private:
  enum class Type : uint8_t { kObject, kArray, kString, kNumber, kInteger, kBoolean };

  bool Compile(const conf::Place& schema, bool is_root, size_t& budget);
  bool CompileExample(const conf::Place& schema);
  void WriteJson(RequestContext& request, std::string& out) const;
  void WriteXml(RequestContext& request, std::string_view name, std::string& out) const;
  std::string Scalar(RequestContext& request) const;  // as text, not yet escaped

  Form form_ = Form::kJson;
  Type type_ = Type::kObject;
  bool has_example_ = false;
  TextTemplate text_;                                       // the example of a text
  std::string scalar_;                                      // that of another value
  std::vector<std::pair<std::string, MockValue>> members_;  // of an object; an array's one item
};

}  // namespace sluice::plugins
