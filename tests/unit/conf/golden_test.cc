// tests/golden/config: each NAME.yaml or NAME.json is loaded, and the diagnostics are compared with
// NAME.expected; "ok" there means that there are none. A new case is a new pair of files. With
// SLUICE_UPDATE_GOLDEN=1 in the environment the expected files are written: read the difference.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include <gtest/gtest.h>

#include "conf/resources.h"

namespace sluice::conf {
namespace {

std::vector<std::filesystem::path> Cases() {
  std::vector<std::filesystem::path> cases;
  for (const auto& entry : std::filesystem::directory_iterator("tests/golden/config")) {
    const std::string extension = entry.path().extension();
    if (extension == ".yaml" || extension == ".json") cases.push_back(entry.path());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

std::string ReadAll(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class GoldenConfigTest : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(GoldenConfigTest, SaysWhatIsExpected) {
  unsetenv("SLUICE_TEST_UNSET");
  setenv("SLUICE_TEST_WEIGHT", "7", 1);
  Diagnostics diagnostics;
  const auto config = LoadFile(GetParam(), diagnostics);
  EXPECT_EQ(config == nullptr, !diagnostics.empty());
  const std::string actual = config != nullptr ? "ok\n" : diagnostics.ToText();
  std::filesystem::path expected = GetParam();
  expected.replace_extension(".expected");
  if (std::getenv("SLUICE_UPDATE_GOLDEN") != nullptr) std::ofstream(expected) << actual;
  EXPECT_EQ(actual, ReadAll(expected));
}

INSTANTIATE_TEST_SUITE_P(Config, GoldenConfigTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<std::filesystem::path>& test) {
                           std::string name = test.param.stem();
                           std::replace_if(
                               name.begin(), name.end(),
                               [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

}  // namespace
}  // namespace sluice::conf
