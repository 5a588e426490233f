// What master needs to know of a configuration: the `gateway` section with every path made
// absolute. A plain value; travels between controller and master in a message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conf/resources.h"
#include "gateway/base/log.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"

namespace sluice {

struct ListenSettings {
  std::string address;  // as SocketAddress reads it
  int backlog = 0;
  std::string configured{};  // the address as the configuration has it, with a relative path

  friend bool operator==(const ListenSettings&, const ListenSettings&) = default;
};

// Where relative and default paths begin, from the command line.
struct PathOrigin {
  std::string prefix;   // empty: the system's places
  bool daemon = false;  // there is no terminal to log to
};

struct ProcessSettings {
  int workers = 0;  // 0: auto
  std::string user;
  std::vector<ListenSettings> listen;
  std::string control;
  std::string state_dir;
  std::string pid;
  std::string access_log;  // a path, "stdout" or "stderr"; empty: off
  std::string error_log;   // a path or "stderr"
  std::string metrics;     // as SocketAddress reads it; empty: off
  LogLevel log_level = LogLevel::kInfo;
  Duration shutdown{};
  uint32_t worker_connections = 0;
  uint64_t limit_keys = 0;
  Duration ticket_rotation{};

  static ProcessSettings Make(const conf::Config& config, const PathOrigin& origin);

  std::string Pack() const;
  static Result<ProcessSettings> Unpack(std::string_view packed);
};

// The settings whose change needs a restart, as keys of the `gateway` section.
std::vector<std::string_view> RestartNeeded(const ProcessSettings& now,
                                            const ProcessSettings& next);

}  // namespace sluice
