// The table of docs/resilience.md names every field that it is about.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/resources.h"

namespace sluice::conf {
namespace {

using testing::HasSubstr;

std::string ReadAll(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The fields that a map at `path` of an upstream may have, from what is said of an unknown one.
std::vector<std::string> KnownFields(const std::string& path) {
  std::string upstream = R"("no_such_field": 1)";
  for (size_t end = path.size(); !path.empty();) {
    const size_t dot = path.rfind('.', end - 1);
    const size_t begin = dot == std::string::npos ? 0 : dot + 1;
    upstream = "\"" + path.substr(begin, end - begin) + "\": {" + upstream + "}";
    if (dot == std::string::npos) break;
    end = dot;
  }
  Diagnostics diagnostics;
  const std::string text =
      R"({"routes": [], "upstreams": [{"id": "u", "nodes": {}, )" + upstream + R"(}]})";
  EXPECT_EQ(DecodeDocument(text, diagnostics), nullptr);
  const std::string said = diagnostics.ToText();
  const std::string intro = "known fields are ";
  size_t at = said.find(intro);
  EXPECT_NE(at, std::string::npos) << said;
  std::istringstream list(said.substr(at + intro.size(), said.find('\n', at) - at - intro.size()));
  std::vector<std::string> fields;
  for (std::string word; list >> word;) {
    if (word.ends_with(',')) word.pop_back();
    if (word != "or") fields.push_back(word);
  }
  return fields;
}

TEST(DocsTest, TheTableOfKnobsHasEveryField) {
  const std::string page = ReadAll("docs/resilience.md");
  const std::string table = page.substr(page.find("## Every knob"));
  const auto expect_row = [&](const std::string& field) {
    EXPECT_THAT(table, HasSubstr("`" + field + "`"));
  };
  for (const char* path : {"limits", "circuit_breaker", "outlier_detection", "keepalive_pool",
                           "checks.active", "checks.passive"}) {
    const std::vector<std::string> fields = KnownFields(path);
    EXPECT_GE(fields.size(), 3U) << path;
    for (const std::string& field : fields) {
      if (field != "healthy" && field != "unhealthy") expect_row(field);
    }
  }
  for (const char* path : {"timeout", "retry", "retry.backoff", "retry.budget"}) {
    for (const std::string& field : KnownFields(path)) {
      if (field == "backoff" || field == "budget") continue;
      expect_row(std::string(path) + "." + field);
    }
  }
  for (const char* half : {"healthy", "unhealthy"}) {
    for (const std::string& field : KnownFields(std::string("checks.active.") + half)) {
      expect_row(std::string(half) + "." + field);
    }
  }
  for (const char* field : {"type", "hash_on", "key", "hash_balance_factor", "retries",
                            "retry_timeout", "healthy_panic_threshold"}) {
    EXPECT_THAT(KnownFields(""), testing::Contains(field));
    expect_row(field);
  }
}

}  // namespace
}  // namespace sluice::conf
