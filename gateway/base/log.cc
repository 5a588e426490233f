#include "gateway/base/log.h"

#include <array>
#include <atomic>

#include <unistd.h>

#include "gateway/base/time.h"

namespace sluice {
namespace {

// Level and descriptor are read by other threads too: the access log's writer, work off the loop.
struct LogState {
  std::atomic<LogLevel> level = LogLevel::kInfo;
  std::atomic<int> fd = STDERR_FILENO;
  std::atomic<std::atomic<uint64_t>*> warnings = nullptr;
  std::atomic<std::atomic<uint64_t>*> errors = nullptr;
  std::string role = "sluice";
};

LogState& State() {
  static LogState state;
  return state;
}

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warn", "error"};

// Quotes a value when it has spaces, and escapes what would break the line: a peer must not be
// able to forge a log entry.
void AppendValue(std::string& line, std::string_view value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const bool quote = value.empty() || value.find_first_of(" \"=") != std::string_view::npos;
  if (quote) line += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      line += "\\x";
      line += kHex[byte >> 4];
      line += kHex[byte & 15];
    } else {
      line += c;
    }
  }
  if (quote) line += '"';
}

}  // namespace

void SetLogLevel(LogLevel level) { State().level = level; }
LogLevel GetLogLevel() { return State().level; }
void SetLogOutput(int fd) { State().fd = fd; }
void SetLogRole(std::string_view role) { State().role = role; }

void CountLogLines(std::atomic<uint64_t>* warnings, std::atomic<uint64_t>* errors) {
  State().warnings = warnings;
  State().errors = errors;
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  LogState& state = State();
  if (level == LogLevel::kWarn || level == LogLevel::kError) {
    std::atomic<uint64_t>* const count =
        level == LogLevel::kWarn ? state.warnings.load() : state.errors.load();
    if (count != nullptr) count->fetch_add(1, std::memory_order_relaxed);
  }
  if (level < state.level || level >= LogLevel::kOff) return;
  std::string line = FormatIso8601(WallNow());
  line += ' ';
  line += kLevelNames[static_cast<size_t>(level)];
  line += ' ';
  line += state.role;
  line += ' ';
  line += message;
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    AppendValue(line, field.value);
  }
  line += '\n';
  // A full disk or a closed pipe must not stop the gateway: there is nowhere else to report it.
  [[maybe_unused]] const ssize_t written = write(state.fd, line.data(), line.size());
}

}  // namespace sluice
