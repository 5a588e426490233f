#include "gateway/control/machine.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include <sched.h>
#include <sys/resource.h>

#include "gateway/base/text.h"

namespace sluice {
namespace {

std::optional<std::string> FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

// ceil(quota / period), 0 for no limit or nonsense.
int Cpus(std::string_view quota, std::string_view period) {
  const auto granted = ParseDecimal(quota);  // "max" and "-1" are no limit
  const auto of = ParseDecimal(period);
  if (!granted || !of || *granted == 0 || *of == 0) return 0;
  return static_cast<int>(std::min<uint64_t>((*granted + *of - 1) / *of, 1 << 20));
}

int LimitOf(const std::string& directory, bool v2) {
  if (v2) {
    const auto line = FirstLine(directory + "/cpu.max");
    if (!line) return 0;
    const auto parts = Split(*line, ' ');
    return parts.size() == 2 ? Cpus(parts[0], parts[1]) : 0;
  }
  const auto quota = FirstLine(directory + "/cpu.cfs_quota_us");
  const auto period = FirstLine(directory + "/cpu.cfs_period_us");
  return quota && period ? Cpus(*quota, *period) : 0;
}

// The tightest limit of a group and of those above it.
int TightestLimit(const std::string& mount, std::string group, bool v2) {
  int tightest = 0;
  while (true) {
    const int limit = LimitOf(mount + group, v2);
    if (limit > 0 && (tightest == 0 || limit < tightest)) tightest = limit;
    if (group.empty() || group == "/") return tightest;
    group.erase(group.rfind('/'));
  }
}

}  // namespace

int CgroupCpuLimit(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  int tightest = 0;
  while (std::getline(groups, line)) {
    // "0::/path" is v2, "4:cpu,cpuacct:/path" is v1.
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !ListContains(controllers, "cpu")) continue;
    std::string group = line.substr(second + 1);
    if (!group.starts_with('/')) continue;
    const int limit =
        TightestLimit(root + (v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"), std::move(group), v2);
    if (limit > 0 && (tightest == 0 || limit < tightest)) tightest = limit;
  }
  return tightest;
}

int AutomaticWorkers() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  const int limit = CgroupCpuLimit();
  return std::max(1, limit > 0 ? std::min(allowed, limit) : allowed);
}

Status RaiseOpenFiles(pid_t pid, uint64_t needed) {
  rlimit now{};
  if (prlimit(pid, RLIMIT_NOFILE, nullptr, &now) != 0) return SystemError("prlimit", errno);
  if (now.rlim_cur >= needed) return {};
  const rlimit wanted{needed, std::max<rlim_t>(needed, now.rlim_max)};
  if (prlimit(pid, RLIMIT_NOFILE, &wanted, nullptr) == 0) return {};
  // Not allowed to raise the hard limit: take what there is.
  const rlimit possible{std::min<rlim_t>(needed, now.rlim_max), now.rlim_max};
  if (prlimit(pid, RLIMIT_NOFILE, &possible, nullptr) != 0) return SystemError("prlimit", errno);
  if (possible.rlim_cur >= needed) return {};
  return GatewayError(ErrorCode::kIo, std::to_string(needed) +
                                          " open files are needed, but the limit is " +
                                          std::to_string(possible.rlim_cur));
}

}  // namespace sluice
