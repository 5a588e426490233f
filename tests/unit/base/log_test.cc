#include "gateway/base/log.h"

#include <algorithm>
#include <array>
#include <string>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace sluice {
namespace {

using testing::EndsWith;
using testing::MatchesRegex;

class LogTest : public testing::Test {
 protected:
  LogTest() {
    EXPECT_EQ(pipe2(fds_.data(), O_NONBLOCK | O_CLOEXEC), 0);
    SetLogOutput(fds_[1]);
    SetLogRole("worker-0");
  }
  ~LogTest() override {
    SetLogOutput(STDERR_FILENO);
    SetLogLevel(LogLevel::kInfo);
    SetLogRole("sluice");
    close(fds_[0]);
    close(fds_[1]);
  }
  std::string Written() const {
    std::array<char, 4096> bytes{};
    const ssize_t size = read(fds_[0], bytes.data(), bytes.size());
    return size > 0 ? std::string(bytes.data(), static_cast<size_t>(size)) : std::string();
  }

  std::array<int, 2> fds_{};
};

TEST_F(LogTest, OneEventIsOneLine) {
  Log(LogLevel::kInfo, "listening", {{"address", "127.0.0.1:80"}, {"sockets", 4}, {"empty", ""}});
  EXPECT_THAT(Written(), MatchesRegex("[0-9-]+T[0-9:.]+Z info worker-0 listening "
                                      "address=127.0.0.1:80 sockets=4 empty=\"\"\n"));
}

TEST_F(LogTest, LowerLevelsAreNotWritten) {
  Log(LogLevel::kDebug, "no");
  SetLogLevel(LogLevel::kError);
  Log(LogLevel::kWarn, "no");
  EXPECT_EQ(Written(), "");
  Log(LogLevel::kError, "yes");
  EXPECT_THAT(Written(), EndsWith(" error worker-0 yes\n"));
  SetLogLevel(LogLevel::kOff);
  Log(LogLevel::kError, "no");
  Log(LogLevel::kOff, "no");
  EXPECT_EQ(Written(), "");
}

TEST_F(LogTest, ValuesCannotForgeALineOrAField) {
  Log(LogLevel::kWarn, "m", {{"a", "x\n2026-01-01T00:00:00.000Z error"}, {"b", "y z=1 \"q\\"}});
  EXPECT_THAT(Written(), EndsWith(" m a=\"x\\x0a2026-01-01T00:00:00.000Z error\" "
                                  "b=\"y z=1 \\\"q\\\\\"\n"));
}

TEST_F(LogTest, ControlsAreNeverRaw) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  Log(LogLevel::kWarn, "m", {{"a", all}});
  const std::string line = Written();
  EXPECT_EQ(std::count_if(line.begin(), line.end(),
                          [](char c) {
                            const auto byte = static_cast<unsigned char>(c);
                            return byte < 0x20 || byte == 0x7f;
                          }),
            1)
      << "only the newline";
}

TEST_F(LogTest, FullOutputIsNotAnError) {
  const std::string filler(4096, 'x');
  while (write(fds_[1], filler.data(), filler.size()) > 0) {
  }
  Log(LogLevel::kError, "lost");  // returns
  std::string all;
  for (std::string part = Written(); !part.empty(); part = Written()) all += part;
  EXPECT_EQ(all.find("lost"), std::string::npos);
}

}  // namespace
}  // namespace sluice
