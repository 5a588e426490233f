// The access log of one worker: formats a line on the loop thread into a bounded buffer, which a
// writer thread drains. When the disk stalls or is full, lines are dropped and counted; a request
// never waits. Owned by the worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/base/error.h"
#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/http/request_view.h"

namespace sluice {

// Everything that is known of an exchange when it ends. Views need to live during Write only.
struct AccessRecord {
  const RequestView* request = nullptr;  // its head may be empty when the request was malformed
  int status = 0;                        // sent to the client; 499 when it went away before
  ErrorCode reason = ErrorCode::kNone;
  uint64_t bytes_in = 0;   // request head and body as received
  uint64_t bytes_out = 0;  // response head and body as sent
  uint64_t body_bytes_out = 0;
  std::string_view route_id;  // empty: none
  std::string_view upstream_key;
  std::string_view node;    // address:port of the last attempt
  int upstream_status = 0;  // 0: none came
  uint32_t attempts = 0;
  uint64_t request_number = 1;  // on this connection
  uint64_t connection_id = 0;
  uint64_t id_high = 0;  // 128-bit request id
  uint64_t id_low = 0;
  Duration total{};
  Duration connect{};   // to establish the upstream connection; zero when reused
  Duration ttfb{};      // until the upstream's head
  Duration upstream{};  // spent waiting for the upstream in all
};

class AccessLogFormat {
 public:
  // "combined", "json", or a template with nginx variable names ("$remote_addr $status").
  static Result<AccessLogFormat> Make(std::string_view format);
  ~AccessLogFormat();
  AccessLogFormat(AccessLogFormat&&) noexcept;
  AccessLogFormat& operator=(AccessLogFormat&&) noexcept;

  // Appends one line with its newline. Bytes from the client are escaped: no line can be forged.
  // From one thread only: the text of the current second is cached.
  void Append(std::string& out, const AccessRecord& record, WallTime now) const;

 private:
  struct Compiled;
  explicit AccessLogFormat(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

class AccessLog {
 public:
  // Takes `fd` over. `capacity`: bytes that may wait for the disk; above it lines are dropped.
  AccessLog(int fd, AccessLogFormat format, size_t capacity = 4 * 1024 * 1024);
  ~AccessLog();  // writes what is left, bounded in time
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  void Write(const AccessRecord& record, WallTime now);
  // Hands what was collected to the writer; called once a loop turn or when idle.
  void Flush();
  // Replaces the descriptor (USR1, or a new path) and optionally the format.
  void Reopen(int fd);
  void SetFormat(AccessLogFormat format);

  uint64_t dropped() const;  // lines, since the start

 private:
  struct Writer;
  std::unique_ptr<Writer> writer_;
};

}  // namespace sluice
