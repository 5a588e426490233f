// The PID file of a master, locked by it for life: who holds the lock is the running gateway, so a
// stale file or a reused process id misleads nobody. Removed when the master ends.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <sys/types.h>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

class PidFile {
 public:
  // Writes our process id, complete or not at all. Fails when a live master holds the file.
  static Result<std::unique_ptr<PidFile>> Make(const std::string& path);
  ~PidFile();

  // The master that holds `path`; none when there is no file or nobody holds it.
  static Result<std::optional<pid_t>> FindMaster(const std::string& path);

 private:
  PidFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;  // holds the lock
};

}  // namespace sluice
