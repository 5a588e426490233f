// What master, controller and workers say to each other over their channels, and how a payload is
// laid out. Each role checks what it reads: a message that does not follow this ends its sender.
//
//   start, listen, unlisten, logs, quit   master → roles
//   prepare, commit                       controller → master → workers; abort: master → workers
//   ready, prepared, refused, committed   the answers, back the same way
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "gateway/base/result.h"
#include "gateway/base/unique_fd.h"

namespace sluice {

enum class MessageType : uint32_t {
  // To a role. Descriptors in [].
  kStartWorker = 1,  // WorkerStart [document, ticket keys, endpoints, limits, metric slabs, error
                     // log, access log if on]
  kStartController,  // ControllerStart [document, error log, control socket, endpoints, slabs,
                     // limits, socket for metrics if on]
  kListen,           // bound address, configured address [listening socket]
  kUnlisten,         // bound address
  kLogs,             // [error log, access log if on]
  kMetrics,          // to the controller: where to serve metrics now [listening socket if on]
  kReload,           // to the controller: HUP came
  kQuit,             // finish what is under way, then exit
  kQuitNow,          // exit at once
  // A roll-out: controller to master (with ProcessSettings), master to workers.
  kPrepare,  // revision, packed settings [document]
  kCommit,   // revision
  kAbort,    // revision
  // Answers.
  kReady,      // a worker serves its first snapshot; the controller listens
  kPrepared,   // revision
  kRefused,    // revision, 1 when it may be tried again, text
  kCommitted,  // revision
  // Controller to master, for the service manager.
  kReloading,
  kReloaded,  // text
};

// A payload is a sequence of numbers (8 bytes, this machine's order: both ends are one binary) and
// texts (a number, then the bytes).
class MessageWriter {
 public:
  MessageWriter& Number(uint64_t value);
  MessageWriter& Text(std::string_view value);
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads a payload; after the first mistake everything reads as zero or empty and Finish fails.
class MessageReader {
 public:
  explicit MessageReader(std::string_view payload) : rest_(payload) {}

  uint64_t Number(uint64_t maximum = UINT64_MAX);
  std::string Text();
  bool ok() const { return ok_; }
  // Also fails when something is left over. `what` names the message.
  Status Finish(std::string_view what);

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// The account that a role takes on; an empty name means: stay who we are.
struct Account {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct WorkerStart {
  uint32_t index = 0;  // also of its column in the endpoint table
  uint64_t revision = 0;
  Account account;
  uint32_t processes = 1;   // columns of that table; the controller's is the last
  uint64_t limit_keys = 1;  // for which there is room in the shared limits

  std::string Pack() const;
  static Result<WorkerStart> Unpack(std::string_view packed);
};

struct ControllerStart {
  uint64_t revision = 0;       // of the document
  uint64_t next_revision = 0;  // above every number that was ever used
  Account account;
  std::string config_path;
  std::string prefix;
  bool daemon = false;
  uint32_t processes = 1;   // as in WorkerStart
  uint64_t limit_keys = 1;  // the same

  std::string Pack() const;
  static Result<ControllerStart> Unpack(std::string_view packed);
};

// Documents travel as sealed memfds: nobody can change them under the reader.
Result<UniqueFd> MakeDocument(std::string_view content);
Result<std::string> ReadDocument(int fd);

}  // namespace sluice
