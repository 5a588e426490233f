// The command line of sluice, parsed: commands, and nginx's short forms for those who have them in
// their fingers. Lives as long as the process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gateway/base/time.h"
#include "gateway/control/explain.h"

namespace sluice {

enum class Command : uint8_t {
  kRun,
  kCheck,
  kReload,
  kStatus,
  kNode,
  kStop,
  kSignal,  // nginx's -s
  kRoutes,
  kExplain,
  kPlugins,
  kVersion,
  kDemoOrigin,
};

struct Options {
  Command command = Command::kRun;
  std::string config;  // absolute; the default one when none was given
  std::string prefix;  // absolute; empty: none was given
  bool json = false;
  bool daemon = false;
  bool verbose = false;  // version: with the libraries
  std::string signal;    // kSignal: reload, quit, stop or reopen
  Duration timeout{};    // kStop: how long to wait; zero: what the configuration says
  ExplainInput explain;  // kExplain
  std::string docs;      // kPlugins: where pages are written; empty: print
  std::string listen;    // kDemoOrigin
  std::string order;     // kNode: drain, up or down
  std::string upstream;  // kNode: id, name or key
  std::string node;      // kNode: as `status` names it
};

// Exit codes of the command line.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

struct ParsedOptions {
  std::optional<Options> options;  // none: help or an error was printed; exit with `exit_code`
  int exit_code = kExitOk;
};

ParsedOptions ParseOptions(int argc, const char* const* argv);

}  // namespace sluice
