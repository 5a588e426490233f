#include "conf/resources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sluice::conf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = testing::TempDir() + "conf_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

 private:
  std::string path_;
};

std::shared_ptr<const Config> Load(const std::string& text, Diagnostics& diagnostics) {
  const TemporaryDirectory directory;
  return LoadFile(directory.Write("sluice.yaml", text), diagnostics);
}

TEST(LoadFileTest, NeedsOnlyRoutes) {
  Diagnostics diagnostics;
  const auto config = Load(
      "routes:\n"
      "  - {id: hello, uri: /hello/*, upstream: {nodes: {\"127.0.0.1:1980\": 1}}}\n",
      diagnostics);
  ASSERT_NE(config, nullptr) << diagnostics.ToText();
  ASSERT_EQ(config->routes.size(), 1u);
  EXPECT_EQ(config->routes[0].id, "hello");
  EXPECT_THAT(config->routes[0].uris, ElementsAre("/hello/*"));
  EXPECT_EQ(config->routes[0].position.line, 2u);
  ASSERT_EQ(config->upstreams.size(), 1u);
  EXPECT_EQ(config->upstreams[0].key, "route/hello");
  EXPECT_EQ(config->upstreams[0].nodes[0].host, "127.0.0.1");
  EXPECT_EQ(config->upstreams[0].nodes[0].port, 1980);
  ASSERT_EQ(config->gateway.listen.size(), 1u);
  EXPECT_EQ(config->gateway.listen[0].address.ToString(), "0.0.0.0:9080");
}

}  // namespace
}  // namespace sluice::conf
