// The log files as master opens them, for itself and to hand on: the other roles may not be allowed
// to. Reopened on USR1 and when a reload names other paths.
#pragma once

#include <string>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"
#include "gateway/control/process_settings.h"

namespace sluice {

struct LogFiles {
  UniqueFd error;
  UniqueFd access;  // none: off

  static Result<LogFiles> Open(const ProcessSettings& settings);
};

// Makes `fd` the error log of this process, under one descriptor number for life: other threads may
// be writing a line meanwhile.
Status InstallErrorLog(const UniqueFd& fd);

// Creates the directory that `path` lies in, and those above it.
Status MakeParentDirectory(const std::string& path);

}  // namespace sluice
