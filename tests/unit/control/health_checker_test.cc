#include "gateway/control/health_checker.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/unique_fd.h"
#include "tests/unit/net/run_until.h"

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::Not;

// One listening socket under many names, each of which is a node.
class HealthCheckerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "health_XXXXXX";
    directory_ = mkdtemp(name.data());
    const auto address = *SocketAddress::Make("unix:" + directory_ + "/socket");
    ASSERT_EQ(bind(listener_.get(), address.raw(), address.raw_size()), 0);
    ASSERT_EQ(listen(listener_.get(), 1000), 0);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string NodeName(size_t i) const {
    return "unix:" + directory_ + "/" + std::to_string(i) + ".sock";
  }

  std::shared_ptr<const conf::Config> ConfigOf(size_t nodes, const std::string& check) {
    std::string list;
    for (size_t i = 0; i < nodes; ++i) {
      const std::string name = NodeName(i);
      std::filesystem::create_symlink(directory_ + "/socket", name.substr(5));
      list += (i == 0 ? "\"" : ", \"") + name + "\": 1";
    }
    return Decode("{\"upstreams\": [{\"id\": \"u\", \"nodes\": {" + list +
                  "}, \"checks\": {\"active\": " + check + "}}]}");
  }

  static std::shared_ptr<const conf::Config> Decode(const std::string& document) {
    conf::Diagnostics diagnostics;
    auto config = conf::DecodeDocument(document, diagnostics);
    EXPECT_NE(config, nullptr) << diagnostics.ToText();
    return config;
  }

  // Ends the connection that has waited for longest; false: there is none.
  bool EndOne() {
    const UniqueFd accepted(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK));
    return static_cast<bool>(accepted);
  }

  size_t CountDown(size_t nodes) const {
    size_t down = 0;
    for (size_t i = 0; i < nodes; ++i) {
      const auto id = table_->Find("upstream/u", NodeName(i));
      if (id && !IsHealthy(table_->record(*id))) ++down;
    }
    return down;
  }

  std::string directory_;
  UniqueFd listener_{socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)};
  std::unique_ptr<Loop> loop_ = *Loop::Make();
  std::shared_ptr<EndpointTable> master_ = *EndpointTable::Make(1);
  std::shared_ptr<EndpointTable> table_ = *EndpointTable::Map(master_->memory(), 1, 0);
};

TEST_F(HealthCheckerTest, AllProbesTogetherAreLimitedAndEachHasItsTurn) {
  constexpr size_t kNodes = HealthChecker::kMostProbes + 50;
  const auto config = ConfigOf(
      kNodes, R"({"concurrency": 1000, "timeout": 600, "unhealthy": {"tcp_failures": 1}})");
  HealthChecker checker(*loop_, table_);
  checker.Adopt(*config, nullptr);
  const auto& open = checker.probes()->open;
  ASSERT_TRUE(RunUntil(*loop_, [&] { return open.size() >= HealthChecker::kMostProbes; }));
  size_t most = 0;
  EXPECT_TRUE(RunUntil(*loop_, [&] {
    most = std::max(most, open.size());
    EndOne();
    return CountDown(kNodes) == kNodes;
  }));
  EXPECT_EQ(most, HealthChecker::kMostProbes);
}

TEST_F(HealthCheckerTest, AnUpstreamHasItsOwnLimit) {
  const auto config =
      ConfigOf(20, R"({"concurrency": 3, "timeout": 600, "unhealthy": {"tcp_failures": 1}})");
  HealthChecker checker(*loop_, table_);
  checker.Adopt(*config, nullptr);
  size_t most = 0;
  EXPECT_TRUE(RunUntil(*loop_, [&] {
    most = std::max(most, checker.probes()->open.size());
    if (most == 3) EndOne();
    return CountDown(20) == 20;
  }));
  EXPECT_EQ(most, 3u);
}

TEST_F(HealthCheckerTest, WhatIsNotCheckedAnyMoreIsForgottenAndItsProbesEnd) {
  const auto config = ConfigOf(2, R"({"timeout": 600, "unhealthy": {"tcp_failures": 1}})");
  HealthChecker checker(*loop_, table_);
  checker.Adopt(*config, nullptr);
  EXPECT_TRUE(RunUntil(*loop_, [&] { return EndOne() || CountDown(2) > 0; }));
  EXPECT_TRUE(RunUntil(*loop_, [&] { return CountDown(2) == 1; }));
  EXPECT_TRUE(RunUntil(*loop_, [&] { return !checker.probes()->open.empty(); }));
  checker.Adopt(*Decode(R"({"routes": []})"), nullptr);
  EXPECT_EQ(CountDown(2), 0u);
  EXPECT_TRUE(RunUntil(*loop_, [&] { return checker.probes()->open.empty(); }));
}

TEST_F(HealthCheckerTest, ProbesMayBeUnderWayAtTheEnd) {
  const auto config = ConfigOf(5, R"({"timeout": 600})");
  auto checker = std::make_unique<HealthChecker>(*loop_, table_);
  const std::shared_ptr<ProbeSet> probes = checker->probes();
  checker->Adopt(*config, nullptr);
  EXPECT_TRUE(RunUntil(*loop_, [&] { return probes->open.size() == 5; }));
  checker.reset();
  EXPECT_TRUE(RunUntil(*loop_, [&] { return probes->open.empty(); }));
}

TEST(HealthProbeTest, WritesARequest) {
  conf::ActiveCheck check;
  EXPECT_EQ(WriteProbe(check, "node:8080"),
            "GET / HTTP/1.1\r\nHost: node:8080\r\nConnection: close\r\n\r\n");
  check.method = "POST";
  check.path = "/h?x=1";
  check.headers = {"A: b", "C: "};
  EXPECT_EQ(WriteProbe(check, "n"),
            "POST /h?x=1 HTTP/1.1\r\nHost: n\r\nConnection: close\r\nA: b\r\nC: \r\n"
            "Content-Length: 0\r\n\r\n");
  check.body = "ab\n";
  EXPECT_THAT(WriteProbe(check, "n"), HasSubstr("\r\nContent-Length: 3\r\n\r\nab\n"));
  check.method = "HEAD";
  check.body.clear();
  EXPECT_THAT(WriteProbe(check, "n"), Not(HasSubstr("Content-Length")));
}

}  // namespace
}  // namespace sluice
