#include "tests/unit/plugin/hello.h"

#include <gtest/gtest.h>

#include "conf/config_tree.h"
#include "gateway/plugin/chain.h"
#include "gateway/plugin/registry.h"

namespace sluice {
namespace {

PluginSet Read(std::string_view json, conf::Diagnostics& diagnostics) {
  const uint32_t file = diagnostics.AddSource("test", std::string(json));
  const conf::Node node = conf::ParseJson(json, file, diagnostics);
  return ReadPlugins({node, diagnostics, nullptr, "plugins"}, "route/r", {}, false);
}

TEST(HelloTest, RegistersItself) {
  const PluginKind* const kind = PluginRegistry::Find("hello");
  ASSERT_NE(kind, nullptr);
  EXPECT_TRUE(kind->has(Phase::kAccess));
  EXPECT_FALSE(kind->has(Phase::kRewrite));
}

TEST(HelloTest, ItsDeclarationReadsAndDescribes) {
  conf::Diagnostics diagnostics;
  const PluginSet set =
      Read(R"({"hello": {"answers": true, "_meta": {"priority": 7}}})", diagnostics);
  EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  ASSERT_EQ(set.size(), 1U);
  EXPECT_EQ(set[0].meta.priority, 7);
  EXPECT_EQ("{" + conf::SchemaJson(set[0].kind->schema()) + "}",
            R"({"type":"object","additionalProperties":false,"properties":{)"
            R"("greeting":{"description":"What is said.","default":"hello",)"
            R"("type":"string","minLength":1,"maxLength":256},)"
            R"("answers":{"description":"Answers in place of the upstream.","default":false,)"
            R"("type":"boolean"}}})");
}

TEST(HelloTest, MistakesAreSaidWithTheirPlace) {
  conf::Diagnostics diagnostics;
  Read(R"({"hello": {"greetin": "x", "answers": 1}, "helo": {}})", diagnostics);
  ASSERT_EQ(diagnostics.total(), 3U);
  EXPECT_EQ(diagnostics.list()[0].path, "plugins.hello.greetin");
  EXPECT_EQ(diagnostics.list()[0].hint, "did you mean \"greeting\"?");
  EXPECT_EQ(diagnostics.list()[1].message, "expected true or false, got the integer 1");
  EXPECT_EQ(diagnostics.list()[2].hint, "did you mean \"hello\"?");
}

}  // namespace
}  // namespace sluice
