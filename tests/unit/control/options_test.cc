#include "gateway/control/options.h"

#include <vector>

#include <gtest/gtest.h>

namespace sluice {
namespace {

ParsedOptions Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "sluice");
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data());
}

TEST(OptionsTest, KnowsTheCommands) {
  EXPECT_EQ(Parse({"run"}).options->command, Command::kRun);
  EXPECT_TRUE(Parse({"run", "--daemon"}).options->daemon);
  EXPECT_TRUE(Parse({"check", "--json"}).options->json);
  EXPECT_EQ(Parse({"demo-origin", "--listen", "[::1]:0"}).options->listen, "[::1]:0");
}

TEST(OptionsTest, ReadsAnOrderForANode) {
  EXPECT_TRUE(Parse({"status", "--json"}).options->json);
  const auto parsed = Parse({"node", "drain", "shop", "10.0.0.1:80"});
  ASSERT_TRUE(parsed.options.has_value());
  EXPECT_EQ(parsed.options->command, Command::kNode);
  EXPECT_EQ(parsed.options->order, "drain");
  EXPECT_EQ(parsed.options->upstream, "shop");
  EXPECT_EQ(parsed.options->node, "10.0.0.1:80");
}

TEST(OptionsTest, KnowsTheShortFormsOfNginx) {
  EXPECT_EQ(Parse({"-t", "-c", "/x.yaml"}).options->command, Command::kCheck);
  EXPECT_EQ(Parse({"-v"}).options->command, Command::kVersion);
  EXPECT_TRUE(Parse({"-V"}).options->verbose);
  const auto quit = Parse({"-s", "quit"});
  EXPECT_EQ(quit.options->command, Command::kSignal);
  EXPECT_EQ(quit.options->signal, "quit");
}

TEST(OptionsTest, FindsTheConfigurationBelowThePrefix) {
  EXPECT_EQ(Parse({"run"}).options->config, "/etc/sluice/sluice.yaml");
  EXPECT_EQ(Parse({"run", "-p", "/opt/x/"}).options->config, "/opt/x/conf/sluice.yaml");
  EXPECT_EQ(Parse({"run", "-p", "/opt/x/"}).options->prefix, "/opt/x");
  EXPECT_EQ(Parse({"-p", "/opt", "run", "-c", "/y.yaml"}).options->config, "/y.yaml");
  EXPECT_TRUE(Parse({"run", "-c", "y.yaml"}).options->config.starts_with('/'));
}

TEST(OptionsTest, ReadsARequestToExplain) {
  const auto parsed = Parse({"explain", "PUT", "https://h/p", "-H", "A: b", "-H", "C:d: e"});
  ASSERT_TRUE(parsed.options.has_value());
  const ExplainInput& input = parsed.options->explain;
  EXPECT_EQ(input.method, "PUT");
  EXPECT_EQ(input.url, "https://h/p");
  ASSERT_EQ(input.headers.size(), 2u);
  EXPECT_EQ(input.headers[0].second, "b");
  EXPECT_EQ(input.headers[1].second, "d: e");
}

TEST(OptionsTest, AnswersMisuseWithExitCode2) {
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{},
                                             {"unknown"},
                                             {"run", "--unknown"},
                                             {"-s", "dance"},
                                             {"run", "check"},
                                             {"-t", "-v"},
                                             {"explain", "GET"},
                                             {"node", "drain", "shop"},
                                             {"node", "dance", "shop", "10.0.0.1:80"},
                                             {"explain", "GET", "/x", "-H", "no colon"},
                                             {"stop", "--timeout", "-1"}}) {
    const auto parsed = Parse(arguments);
    EXPECT_FALSE(parsed.options.has_value());
    EXPECT_EQ(parsed.exit_code, kExitUsage);
  }
}

TEST(OptionsTest, HelpIsNoError) {
  const auto parsed = Parse({"--help"});
  EXPECT_FALSE(parsed.options.has_value());
  EXPECT_EQ(parsed.exit_code, kExitOk);
}

}  // namespace
}  // namespace sluice
