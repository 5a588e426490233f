#include "gateway/control/privileges.h"

#include <array>
#include <cerrno>
#include <vector>

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

constexpr const char* kDefaultUser = "www-data";

Result<Account> FindAccount(const std::string& name) {
  std::vector<char> buffer(64 * 1024);
  passwd entry{};
  passwd* found = nullptr;
  const int error = getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (error != 0) return SystemError("look up user " + name, error);
  if (found == nullptr) {
    return GatewayError(
        ErrorCode::kInvalidConfig,
        "user \"" + name + "\" does not exist: set gateway.user to one that does, or to root");
  }
  return Account{name, entry.pw_uid, entry.pw_gid};
}

// Leaves exactly CAP_DAC_READ_SEARCH, or nothing when it was not there in the first place.
Status KeepReadingOnly() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> now{};
  if (syscall(SYS_capget, &header, now.data()) != 0) return SystemError("capget", errno);
  const uint32_t reading = (1U << CAP_DAC_READ_SEARCH) & now[0].permitted;
  std::array<__user_cap_data_struct, 2> next{};
  next[0].effective = next[0].permitted = reading;
  if (syscall(SYS_capset, &header, next.data()) != 0) return SystemError("capset", errno);
  if (reading == 0) {
    Log(LogLevel::kWarn, "no CAP_DAC_READ_SEARCH: a reload can only read files open to the user");
  }
  return {};
}

}  // namespace

Result<Account> ChooseAccount(const std::string& user) {
  if (geteuid() == 0) {
    if (user == "root") return Account{};
    return FindAccount(user.empty() ? kDefaultUser : user);
  }
  if (user.empty()) return Account{};
  SLUICE_ASSIGN_OR_RETURN(const Account wanted, FindAccount(user));
  if (wanted.uid != geteuid()) {
    Log(LogLevel::kWarn, "gateway.user is ignored: only root can become somebody else",
        {{"user", user}});
  }
  return Account{};
}

Status DropPrivileges(const Account& account, Keep keep) {
  if (!account.name.empty()) {
    if (keep == Keep::kReading && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
      return SystemError("keep capabilities", errno);
    }
    if (initgroups(account.name.c_str(), account.gid) != 0) return SystemError("initgroups", errno);
    if (setgid(account.gid) != 0) return SystemError("setgid", errno);
    if (setuid(account.uid) != 0) return SystemError("setuid", errno);
    if (keep == Keep::kReading) SLUICE_TRY(KeepReadingOnly());
    if (account.uid != 0 && setuid(0) == 0) {
      return GatewayError(ErrorCode::kInternal, "root privileges could be taken back after setuid");
    }
#ifdef __SANITIZE_ADDRESS__
    // The change of user made the process undumpable, which is right (it holds secrets), but the
    // leak checker has to attach to it.
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SystemError("no new privileges", errno);
  return {};
}

}  // namespace sluice
