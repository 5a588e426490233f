// The structured error log of one process: one line an event, "time level role message key=value".
// Lines go to one descriptor in one write each. The level and descriptor are process-wide and set
// at start or when logs are reopened.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace sluice {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

// A value in a log line: text or a number.
struct LogField {
  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const char* text) : key(name), value(text) {}
  LogField(std::string_view name, const std::string& text) : key(name), value(text) {}
  template <std::integral T>
  LogField(std::string_view name, T number) : key(name), value(std::to_string(number)) {}

  std::string_view key;
  std::string value;
};

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();

// Where lines go (default: standard error) and who writes them: "master", "worker-0". The
// descriptor stays the caller's; to reopen a file, dup2 the new one over it, since another thread
// may be writing. The role is set once, before there are threads.
void SetLogOutput(int fd);
void SetLogRole(std::string_view role);

// Where warnings and errors are counted, whether the level shows them or not. Null: nowhere.
void CountLogLines(std::atomic<uint64_t>* warnings, std::atomic<uint64_t>* errors);

// Never blocks for more than one write, never fails: a line that cannot be written is dropped. From
// any thread.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace sluice
