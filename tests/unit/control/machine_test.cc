#include "gateway/control/machine.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    std::string name = (fs::temp_directory_path() / "sluice-machine-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~MachineTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const fs::path file = root_ + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }

  std::string root_;
};

TEST_F(MachineTest, RoundsTheQuotaOfVersion2Up) {
  Write("/proc/self/cgroup", "0::/app");
  Write("/sys/fs/cgroup/app/cpu.max", "150000 100000");
  EXPECT_EQ(CgroupCpuLimit(root_), 2);
}

TEST_F(MachineTest, TakesTheTightestOfTheGroupsAbove) {
  Write("/proc/self/cgroup", "0::/slice/app");
  Write("/sys/fs/cgroup/slice/app/cpu.max", "max 100000");
  Write("/sys/fs/cgroup/slice/cpu.max", "300000 100000");
  EXPECT_EQ(CgroupCpuLimit(root_), 3);
}

TEST_F(MachineTest, ReadsVersion1EvenWhenItsPathIsNotVisibleInAContainer) {
  Write("/proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/docker/abc");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(CgroupCpuLimit(root_), 1);
}

TEST_F(MachineTest, KnowsNoLimitWithoutQuota) {
  EXPECT_EQ(CgroupCpuLimit(root_), 0);
  Write("/proc/self/cgroup", "3:cpu:/\nnonsense\n0::relative");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(CgroupCpuLimit(root_), 0);
}

TEST_F(MachineTest, GrantsAtLeastOneWorker) { EXPECT_GE(AutomaticWorkers(), 1); }

}  // namespace
}  // namespace sluice
