#include "gateway/control/pid_file.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class PidFileTest : public testing::Test {
 protected:
  PidFileTest() {
    std::string name = (fs::temp_directory_path() / "sluice-pid-XXXXXX").string();
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/sluice.pid";
  }
  ~PidFileTest() override { fs::remove_all(directory_); }

  // What another process sees: a process does not meet its own lock.
  template <typename Check>
  bool InChild(Check check) {
    const pid_t pid = fork();
    if (pid == 0) _exit(check() ? 0 : 1);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(PidFileTest, HoldsItsPathForOthers) {
  const auto file = PidFile::Make(path_);
  ASSERT_TRUE(file.has_value());
  const pid_t self = getpid();
  EXPECT_TRUE(InChild([&] {
    const auto found = PidFile::FindMaster(path_);
    return found.has_value() && *found == self;
  }));
  EXPECT_TRUE(InChild([&] { return !PidFile::Make(path_).has_value(); }));
  std::string text;
  std::ifstream(path_) >> text;
  EXPECT_EQ(text, std::to_string(self));
}

TEST_F(PidFileTest, IsRemovedAtTheEndAndLeavesNothingBeside) {
  { const auto file = PidFile::Make(path_); }
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(PidFileTest, IgnoresAFileThatNobodyHolds) {
  std::ofstream(path_) << getppid() << "\n";
  const auto found = PidFile::FindMaster(path_);
  ASSERT_TRUE(found.has_value());
  EXPECT_FALSE(found->has_value());
  EXPECT_TRUE(PidFile::Make(path_).has_value());
}

TEST_F(PidFileTest, NamesTheReasonWhenItCannotBeWritten) {
  const auto file = PidFile::Make(directory_ + "/none/sluice.pid");
  ASSERT_FALSE(file.has_value());
  EXPECT_THAT(file.error().detail, testing::HasSubstr("/none/"));
}

}  // namespace
}  // namespace sluice
