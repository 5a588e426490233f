#include "gateway/control/config_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/diagnostics.h"

namespace sluice {
namespace {

conf::Node Parse(std::string_view json) {
  conf::Diagnostics diagnostics;
  auto node = conf::ParseJson(json, diagnostics.AddSource("test", std::string(json)), diagnostics);
  EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  return node;
}

TEST(ConfigDiffTest, NamesAddedChangedAndRemovedResources) {
  const auto before = Parse(R"({"routes":[{"id":"a","uri":"/a"},{"id":"b","uri":"/b"}]})");
  const auto after = Parse(R"({"routes":[{"id":"b","uri":"/x"},{"id":"c","uri":"/c"}]})");
  const auto diff = ConfigDiff::Between(before, after);
  EXPECT_EQ(diff.ToText(), "routes: 1 added (c), 1 changed (b), 1 removed (a)\n");
  EXPECT_EQ(diff.Summary(), "1 added, 1 changed, 1 removed");
  EXPECT_EQ(diff.ToJson(), R"([{"list":"routes","id":"b","change":"changed"},)"
                           R"({"list":"routes","id":"c","change":"added"},)"
                           R"({"list":"routes","id":"a","change":"removed"}])");
}

TEST(ConfigDiffTest, NamesSettingsByTheirKey) {
  const auto before = Parse(R"({"gateway":{"listen":["a"],"pid":"x"}})");
  const auto after = Parse(R"({"gateway":{"listen":["b"],"pid":"x"}})");
  EXPECT_EQ(ConfigDiff::Between(before, after).ToText(), "gateway: 1 changed (listen)\n");
}

TEST(ConfigDiffTest, SeesWholeListsComeAndGo) {
  const auto before = Parse(R"({"routes":[{"id":"a"}]})");
  const auto after = Parse(R"({"upstreams":[{"id":1}]})");
  EXPECT_EQ(ConfigDiff::Between(before, after).ToText(),
            "upstreams: 1 added (1)\nroutes: 1 removed (a)\n");
}

TEST(ConfigDiffTest, IsEmptyForEqualDocuments) {
  const auto document = Parse(R"({"routes":[{"id":"a"}],"gateway":{"pid":"x"}})");
  EXPECT_TRUE(ConfigDiff::Between(document, document).changes().empty());
}

TEST(ConfigDiffTest, CountsWhatItDoesNotName) {
  std::string json = R"({"routes":[)";
  for (int i = 0; i < 50; ++i) json += (i ? "," : "") + (R"({"id":")" + std::to_string(i) + "\"}");
  const auto diff = ConfigDiff::Between(Parse("{}"), Parse(json + "]}"));
  EXPECT_THAT(diff.ToText(), testing::HasSubstr("50 added (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)"));
}

}  // namespace
}  // namespace sluice
