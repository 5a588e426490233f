#include "gateway/proxy/resolved_nodes.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/net/resolver.h"
#include "tests/unit/net/run_until.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

conf::NodeConfig NodeOf(std::string host, uint16_t port) {
  conf::NodeConfig node;
  node.host = std::move(host);
  node.port = port;
  return node;
}

std::vector<std::string> Addresses(const ResolvedNodes& nodes) {
  std::vector<std::string> out;
  nodes.ForEach([&](const SocketAddress& address, const conf::NodeConfig&) {
    out.push_back(address.ToString());
  });
  return out;
}

TEST(ResolvedNodesTest, LiteralNodesAreThereAtOnce) {
  const auto owned = std::move(Loop::Make().value());
  Loop& loop = *owned;
  ResolvedNodes nodes(loop, [] { FAIL(); });
  const std::vector<conf::NodeConfig> wanted = {NodeOf("10.0.0.1", 80), NodeOf("[::1]", 81),
                                                NodeOf("unix:/tmp/x", 0)};
  nodes.Update(wanted, nullptr);
  EXPECT_THAT(Addresses(nodes), ElementsAre("10.0.0.1:80", "[::1]:81", "unix:/tmp/x"));
  EXPECT_FALSE(nodes.is_resolving());
}

TEST(ResolvedNodesTest, ANodeThatStaysKeepsItsAddresses) {
  const auto owned = std::move(Loop::Make().value());
  Loop& loop = *owned;
  const auto resolver = std::move(Resolver::Make(loop).value());
  int changes = 0;
  ResolvedNodes nodes(loop, [&] { ++changes; });
  std::vector<conf::NodeConfig> wanted = {NodeOf("localhost", 1), NodeOf("localhost", 1)};
  nodes.Update(wanted, resolver.get());
  EXPECT_TRUE(nodes.is_resolving());
  EXPECT_THAT(Addresses(nodes), IsEmpty());
  ASSERT_TRUE(RunUntil(loop, [&] { return changes == 2; }));
  const size_t each = Addresses(nodes).size() / 2;
  ASSERT_GE(each, 1U);

  // In another order, with others, and the same name with another port, which is asked for anew.
  wanted = {NodeOf("10.0.0.1", 80), NodeOf("localhost", 2), NodeOf("localhost", 1)};
  wanted[2].weight = 7;
  nodes.Update(wanted, resolver.get());
  EXPECT_EQ(Addresses(nodes).size(), 1 + each);
  EXPECT_TRUE(nodes.is_resolving()) << "port 2 is not known yet";
  nodes.ForEach([](const SocketAddress& address, const conf::NodeConfig& node) {
    EXPECT_EQ(node.weight, address.port() == 1 ? 7U : 1U);
  });

  // Who is listed a second time is known once only.
  wanted = {NodeOf("localhost", 1), NodeOf("localhost", 1)};
  nodes.Update(wanted, resolver.get());
  EXPECT_EQ(Addresses(nodes).size(), each);
  nodes.Update({}, nullptr);
  EXPECT_THAT(Addresses(nodes), IsEmpty());
}

// Comparing each with each would take 20,000,000,000 steps.
TEST(ResolvedNodesTest, ManyNodesCostOneLookEach) {
  constexpr int kNodes = 200'000;
  const auto owned = std::move(Loop::Make().value());
  Loop& loop = *owned;
  ResolvedNodes nodes(loop, [] { FAIL(); });
  std::vector<conf::NodeConfig> wanted;
  for (int i = 0; i < kNodes; ++i) {
    wanted.push_back(NodeOf("10.1." + std::to_string(i % 250) + ".1", 1 + i / 250));
  }
  nodes.Update(wanted, nullptr);
  std::reverse(wanted.begin(), wanted.end());
  nodes.Update(wanted, nullptr);
  EXPECT_EQ(Addresses(nodes).front(), "10.1.249.1:800");
  EXPECT_EQ(Addresses(nodes).size(), size_t{kNodes});
}

}  // namespace
}  // namespace sluice
