// What controller and workers have in common: they are started by master with a channel at a fixed
// descriptor, and live in one loop until they are told to end. Runs in each role's process.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"
#include "gateway/net/ipc_channel.h"
#include "gateway/net/loop.h"

namespace sluice {

// The main functions of the roles; return the exit code.
int RunController();
int RunWorker();

// The first step of a role: ignores the signals that are master's business (a terminal sends them
// to all of us), lets go of standard input and output, and makes its loop. Null after the error was
// logged.
std::unique_ptr<Loop> BeginRole(std::string_view name);

// The channel to master. Null after the error was logged.
std::unique_ptr<IpcChannel> OpenChannel(Loop& loop, IpcChannel::Observer& observer);

// Master said something that cannot be done; a role ends after that.
void LogRefusedMessage(uint32_t type, const Error& why);

// Makes `fd` this role's error log and its standard error, where a crash is reported.
Status TakeErrorLog(const UniqueFd& fd);

}  // namespace sluice
