// The configuration readers: any bytes, as YAML and as JSON, give a tree or a diagnostic, never
// both; a tree survives the way through its own JSON; and decoding it says what is wrong in text.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "conf/config_tree.h"
#include "conf/resources.h"

namespace {

using namespace sluice::conf;  // NOLINT: a single file

constexpr TreeLimits kLimits{.bytes = 1 << 16, .nodes = 20'000, .depth = 32};

void Require(bool condition) {
  if (!condition) std::abort();
}

template <typename Parse>
void Check(std::string_view text, Parse parse) {
  Diagnostics diagnostics;
  const uint32_t file = diagnostics.AddSource("input", std::string(text));
  const Node root = parse(text, file, diagnostics, kLimits);
  if (!diagnostics.empty()) {
    Require(root.kind == Node::Kind::kNull);
    Require(!diagnostics.ToText().empty());
    return;
  }
  const std::string json = ToJson(root);
  Diagnostics again;
  Require(ToJson(ParseJson(json, 0, again)) == json);
  Require(again.empty());
  Diagnostics problems;
  const auto config = DecodeDocument(json, problems);
  Require((config == nullptr) == !problems.empty());
  if (config != nullptr) Require(ToJson(config->document) == json);
  Require(problems.ToText().empty() == problems.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Check(text, ParseYaml);
  Check(text, ParseJson);
  return 0;
}
