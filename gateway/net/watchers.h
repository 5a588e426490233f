// Small owners of one libuv handle each, for the parts that are not the data path: signals, timers,
// file descriptors, file changes. Each calls its function on the loop's thread; destroying the
// owner stops the calls at once (the handle itself is reaped by the loop later).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gateway/base/result.h"
#include "gateway/base/time.h"
#include "gateway/net/loop.h"

namespace sluice {

class Timer {
 public:
  explicit Timer(Loop& loop);
  ~Timer();
  void Start(Duration delay, std::function<void()> on_fire);  // once
  void StartRepeating(Duration interval, std::function<void()> on_fire);
  void Stop();

 private:
  struct Handle;
  Handle* handle_;
};

class SignalWatcher {
 public:
  SignalWatcher(Loop& loop, int signal, std::function<void()> on_signal);
  ~SignalWatcher();

 private:
  struct Handle;
  Handle* handle_;
};

// Calls when `fd` is readable (or hung up). The descriptor stays the caller's and must outlive
// this.
class ReadableWatcher {
 public:
  static Result<std::unique_ptr<ReadableWatcher>> Make(Loop& loop, int fd,
                                                       std::function<void()> on_readable);
  ~ReadableWatcher();
  void Pause();
  void Resume();

 private:
  struct Handle;
  explicit ReadableWatcher(Handle* handle) : handle_(handle) {}
  Handle* handle_;
};

// Calls, debounced, when a directory's entry `file` changes, also by rename over it.
class FileWatcher {
 public:
  static Result<std::unique_ptr<FileWatcher>> Make(Loop& loop, const std::string& file,
                                                   std::function<void()> on_change);
  ~FileWatcher();

 private:
  struct Handle;
  explicit FileWatcher(Handle* handle) : handle_(handle) {}
  Handle* handle_;
};

}  // namespace sluice
