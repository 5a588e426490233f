// What the command line does besides running a gateway: it reads the configuration, or talks to the
// running gateway. Each command returns its exit code, prints results on standard output and errors
// on standard error.
#pragma once

#include "gateway/control/options.h"

namespace sluice {

// The program: parses the command line, or takes on the role that master asks for.
int RunSluice(int argc, const char* const* argv);

int RunCheck(const Options& options);
int RunRoutes(const Options& options);
int RunExplain(const Options& options);
int RunVersion(const Options& options);
int RunPlugins(const Options& options);

// Through the control socket. RunReload waits until the new revision serves everywhere.
int RunReload(const Options& options);
int RunStatus(const Options& options);
int RunNode(const Options& options);
// By signals to the master that holds the PID file.
int RunStop(const Options& options);
int RunSignal(const Options& options);

}  // namespace sluice
