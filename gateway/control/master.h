// The master process: the only one with privileges. It makes sockets and opens logs, starts the
// controller and the workers, starts again what dies, and answers signals. It parses no traffic,
// and of resources only what it is given at the start, to refuse a bad configuration at once.
#pragma once

#include "gateway/control/options.h"

namespace sluice {

// `sluice run`: returns the exit code when the gateway has ended, or, with --daemon, in the process
// that was called when the detached one serves.
int RunMaster(const Options& options);

}  // namespace sluice
