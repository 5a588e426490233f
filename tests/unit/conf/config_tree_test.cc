#include "conf/config_tree.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::conf {
namespace {

using testing::HasSubstr;

Node Yaml(const std::string& text, const TreeLimits& limits = {}) {
  Diagnostics diagnostics;
  Node node = ParseYaml(text, diagnostics.AddSource("x.yaml", text), diagnostics, limits);
  EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  return node;
}

std::string YamlError(const std::string& text, const TreeLimits& limits = {}) {
  Diagnostics diagnostics;
  const Node node = ParseYaml(text, diagnostics.AddSource("x", text), diagnostics, limits);
  EXPECT_EQ(node.kind, Node::Kind::kNull);
  return diagnostics.ToText();
}

std::string JsonError(const std::string& text, const TreeLimits& limits = {}) {
  Diagnostics diagnostics;
  const Node node = ParseJson(text, diagnostics.AddSource("x", text), diagnostics, limits);
  EXPECT_EQ(node.kind, Node::Kind::kNull);
  return diagnostics.ToText();
}

struct PlainCase {
  const char* text;
  const char* json;
};

class PlainScalarTest : public testing::TestWithParam<PlainCase> {};

TEST_P(PlainScalarTest, FollowsTheCoreSchema) {
  EXPECT_EQ(ToJson(Yaml(std::string("- ") + GetParam().text)),
            std::string("[") + GetParam().json + "]");
}

INSTANTIATE_TEST_SUITE_P(
    Core, PlainScalarTest,
    testing::Values(
        PlainCase{"", "null"}, PlainCase{"~", "null"}, PlainCase{"null", "null"},
        PlainCase{"Null", "null"}, PlainCase{"NULL", "null"}, PlainCase{"nULL", "\"nULL\""},
        PlainCase{"true", "true"}, PlainCase{"True", "true"}, PlainCase{"FALSE", "false"},
        PlainCase{"yes", "\"yes\""}, PlainCase{"no", "\"no\""}, PlainCase{"on", "\"on\""},
        PlainCase{"off", "\"off\""}, PlainCase{"y", "\"y\""}, PlainCase{"010", "10"},
        PlainCase{"0o10", "8"}, PlainCase{"0x1F", "31"}, PlainCase{"0b1", "\"0b1\""},
        PlainCase{"1_000", "\"1_000\""}, PlainCase{"-5", "-5"}, PlainCase{"+5", "5"},
        PlainCase{"-0", "0"}, PlainCase{"-0x1", "\"-0x1\""}, PlainCase{"0x", "\"0x\""},
        PlainCase{"9223372036854775807", "9223372036854775807"},
        PlainCase{"-9223372036854775808", "-9223372036854775808"},
        PlainCase{"9223372036854775808", "9223372036854775808.0"},
        PlainCase{"123456789012345678901234567890", "1.2345678901234568e+29"},
        PlainCase{"0xffffffffffffffffff", "4.722366482869645e+21"}, PlainCase{"1.5", "1.5"},
        PlainCase{"1.0", "1.0"}, PlainCase{"1.", "1.0"}, PlainCase{".5", "0.5"},
        PlainCase{"1e3", "1000.0"}, PlainCase{"-1.5E-3", "-0.0015"}, PlainCase{"1e", "\"1e\""},
        PlainCase{".", "\".\""}, PlainCase{"+", "\"+\""}, PlainCase{"1.2.3", "\"1.2.3\""},
        PlainCase{"127.0.0.1", "\"127.0.0.1\""}, PlainCase{"12:30:45", "\"12:30:45\""},
        PlainCase{"2026-11-21", "\"2026-11-21\""}, PlainCase{"10MB", "\"10MB\""},
        PlainCase{"\"010\"", "\"010\""}, PlainCase{"'true'", "\"true\""}, PlainCase{"\"\"", "\"\""},
        PlainCase{"\"\\x41\\u00e4\\U0001F600\"", "\"Aä😀\""}),
    [](const testing::TestParamInfo<PlainCase>& test) { return std::to_string(test.index); });

TEST(PlainScalarTest, MarksWhatNoDoubleHolds) {
  for (const char* text : {".inf", "-.inf", "+.INF", ".nan", "1e999", "1e-999"}) {
    EXPECT_FALSE(std::isfinite(ReadPlainScalar(text, {}).number)) << text;
  }
}

TEST(PlainScalarTest, KeepsALoneDashAsText) {
  EXPECT_EQ(ReadPlainScalar("-", {}).kind, Node::Kind::kString);
}

TEST(ConfigTreeTest, KeepsPositionsOfKeysAndValues) {
  const Node root = Yaml("a: 1\nä: {b: [x,\n  y], c: ''}\nd:\n  - e\ng:\n");
  ASSERT_EQ(root.entries.size(), 4u);
  const Entry& second = root.entries[1];
  EXPECT_EQ(second.key, "ä");
  EXPECT_EQ(second.key_position.line, 2u);
  EXPECT_EQ(second.key_position.column, 1u);
  EXPECT_EQ(second.value.position.column, 4u);  // characters, not bytes
  const Node& list = second.value.entries[0].value;
  EXPECT_EQ(list.items[1].position.line, 3u);
  EXPECT_EQ(list.items[1].position.column, 3u);
  EXPECT_EQ(root.Find("d")->items[0].position.line, 5u);
  // A value that is not there is where its key is.
  EXPECT_EQ(root.Find("g")->position.line, 6u);
}

TEST(ConfigTreeTest, KeepsPositionsOfJson) {
  Diagnostics diagnostics;
  const Node root =
      ParseJson("{\"ä\\n\": [1,\n {\"b\" : null}, []] , \"c\": \"x\"}", 0, diagnostics);
  ASSERT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  EXPECT_EQ(root.entries[0].key_position.column, 2u);
  EXPECT_EQ(root.entries[0].value.position.column, 9u);
  const Node& list = root.entries[0].value;
  EXPECT_EQ(list.items[0].position.column, 10u);
  EXPECT_EQ(list.items[1].position.line, 2u);
  EXPECT_EQ(list.items[1].position.column, 2u);
  EXPECT_EQ(list.items[1].entries[0].value.position.column, 9u);
  EXPECT_EQ(list.items[2].position.column, 16u);
  EXPECT_EQ(root.Find("c")->position.column, 27u);
}

TEST(ConfigTreeTest, ReadsBackItsOwnJson) {
  const Node root = Yaml(
      "a: [1, -2.5, 1.0, 1e300, true, ~, 'x\"\\', \"\\u0001\\u2028\\x7f\"]\n"
      "b: {c: {}, d: []}\n\"\\n\": 9223372036854775808\n");
  const std::string json = ToJson(root);
  Diagnostics diagnostics;
  EXPECT_EQ(ToJson(ParseJson(json, 0, diagnostics)), json);
  EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
}

TEST(ConfigTreeTest, ExpandsAliases) {
  EXPECT_EQ(ToJson(Yaml("a: &x {b: &y [1, 2]}\nc: *x\nd: *y\n")),
            R"({"a":{"b":[1,2]},"c":{"b":[1,2]},"d":[1,2]})");
}

TEST(ConfigTreeTest, ReadsBlockScalars) {
  EXPECT_EQ(ToJson(Yaml("a: |\n  x\n   y\n\nb: >-\n  c\n  d\n   ")),
            R"({"a":"x\n y\n","b":"c d"})");
}

TEST(TreeLimitsTest, AreExact) {
  const TreeLimits limits{.bytes = 16, .nodes = 4, .depth = 2};
  EXPECT_EQ(ToJson(Yaml("[[1], 2]", limits)), "[[1],2]");
  EXPECT_THAT(YamlError("[[1], 2, 3]", limits), HasSubstr("at most 4 values"));
  EXPECT_THAT(JsonError("[[1], 2, 3]", limits), HasSubstr("at most 4 values"));
  EXPECT_THAT(YamlError("[[[]]]", limits), HasSubstr("at most 2 levels"));
  EXPECT_THAT(JsonError("[[[]]]", limits), HasSubstr("at most 2 levels"));
  EXPECT_THAT(YamlError("[1234567890123456]", limits), HasSubstr("at most 16 bytes, got 18"));
  EXPECT_THAT(JsonError("[1234567890123456]", limits), HasSubstr("at most 16 bytes, got 18"));
}

TEST(TreeLimitsTest, CountAliases) {
  EXPECT_THAT(YamlError("[&a [1, 2], *a]", {.nodes = 9}), HasSubstr("at most 9 values"));
  EXPECT_EQ(ToJson(Yaml("[&a [1, 2], *a]", {.nodes = 10})), "[[1,2],[1,2]]");
  EXPECT_THAT(YamlError("[&a [[1]], [*a]]", {.depth = 3}), HasSubstr("at most 3 levels"));
}

TEST(TreeLimitsTest, StopAnExplosion) {
  std::string text = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "- &a" + std::to_string(i) + " [" + before + ", " + before + "]\n";
  }
  EXPECT_THAT(YamlError(text, {.nodes = 10'000}), HasSubstr("at most 10000 values"));
}

// yaml-cpp itself recurses; its own guard must come before the stack ends.
TEST(TreeLimitsTest, SurviveHostileNesting) {
  for (const char* piece : {"[", "{a: ", "- ", "? ", "a:\n "}) {
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += piece;
    EXPECT_NE(YamlError(text), "") << piece;
  }
  EXPECT_NE(JsonError(std::string(1'000'000, '[')), "");
}

TEST(TreeLimitsTest, ReadsManyKeysInOneMap) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(Yaml(text).entries.size(), 20'000u);
  EXPECT_THAT(YamlError(text + "k7: 2\n"), HasSubstr("\"k7\" is there twice"));
}

}  // namespace
}  // namespace sluice::conf
