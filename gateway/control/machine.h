// What the machine grants this process: CPUs (affinity mask, cgroup quota) and open files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "gateway/base/result.h"

namespace sluice {

// How many workers `auto` means: the CPUs that we may run on, but not more than the cgroup's quota
// (rounded up). At least 1.
int AutomaticWorkers();

// The CPUs granted by the quotas of cgroup v1 or v2, rounded up; 0 when there is no limit.
// `root` stands before /proc and /sys, for tests.
int CgroupCpuLimit(const std::string& root = {});

// Descriptors that a worker needs for so many client connections: each may have an upstream's.
constexpr uint64_t OpenFilesNeeded(uint32_t worker_connections) {
  return 2 * uint64_t{worker_connections} + 256;
}

// Raises the limit of open files of `pid` (0: this process) to `needed`, also the hard limit when
// allowed. The error says what was needed and what there is.
Status RaiseOpenFiles(pid_t pid, uint64_t needed);

}  // namespace sluice
