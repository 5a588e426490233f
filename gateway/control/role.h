// What controller and workers have in common: they are started by master with a channel at a fixed
// descriptor, and live in one loop until they are told to end. Runs in each role's process.
#pragma once

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

// The main functions of the roles; return the exit code.
int RunController();
int RunWorker();

// Ignores the signals that are master's business (a terminal sends them to all of us) and lets go
// of standard input and output.
void PrepareRole();

// Makes `fd` this role's error log and its standard error, where a crash is reported.
Status TakeErrorLog(const UniqueFd& fd);

}  // namespace sluice
