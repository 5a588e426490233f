// Leaving root: which account the roles take on, and taking it on for good.
#pragma once

#include <cstdint>

#include "gateway/base/result.h"
#include "gateway/control/messages.h"

namespace sluice {

// The account for `user`, or for www-data when it is empty and we are root. An account without a
// name when there is nothing to change: not root, or "root" is asked for. Fails when root is to
// become somebody who does not exist.
Result<Account> ChooseAccount(const std::string& user);

enum class Keep : uint8_t {
  kNothing,
  kReading,  // CAP_DAC_READ_SEARCH, where the system grants it: the controller reads configuration
             // files and secrets that only root may
};

// Takes the account on, for good, and refuses new privileges in any case.
Status DropPrivileges(const Account& account, Keep keep);

}  // namespace sluice
