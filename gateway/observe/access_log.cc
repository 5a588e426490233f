#include "gateway/observe/access_log.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

// The writer collects this much, or for this long, before it writes.
constexpr size_t kBatch = 64 * 1024;
constexpr milliseconds kLinger{100};
// At the end: how long a stalled reader of a pipe is waited for, and a disk that does not answer.
constexpr milliseconds kPipeLimit{1000};
constexpr milliseconds kShutdownLimit{2000};
constexpr seconds kReportInterval{1};

uint64_t CountLines(std::string_view text) {
  return static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

bool IsRegularFile(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

// Three buffers rotate, so that nothing is allocated once they have grown: the loop fills
// `collected`, Flush moves it to `waiting` under the mutex, the thread takes that as `writing`.
//
//     loop thread: collected ──Flush──▶ waiting ──thread──▶ writing ──▶ write(2)
struct AccessLog::Writer {
  Writer(int descriptor, AccessLogFormat line_format, size_t most)
      : format(std::move(line_format)), capacity(most), fd(descriptor) {}
  ~Writer() { close(fd); }

  void ReportDrops();

  void Run();
  void WriteOut();
  bool WriteAll(std::string_view& left);
  size_t WriteSome(std::string_view bytes);
  bool AwaitWritable();
  void TakeNewDescriptor();

  // The loop's thread only.
  AccessLogFormat format;
  const size_t capacity;
  std::string collected;
  uint64_t reported = 0;
  MonoTime next_report{};

  // Both threads, under the mutex.
  std::mutex mutex;
  std::condition_variable changed;
  std::string waiting;
  bool finished = false;

  // Both threads. Stopping and the new descriptor are also looked at while the disk stalls.
  std::atomic<size_t> unwritten = 0;  // bytes of `waiting` and `writing`
  std::atomic<uint64_t> dropped = 0;
  std::atomic<int> last_error = 0;
  std::atomic<int> new_fd = -1;
  std::atomic<bool> stopping = false;
  MonoTime give_up;  // set before `stopping`

  // The writer's thread only.
  int fd;
  bool regular = IsRegularFile(fd);
  bool torn = false;  // the last line in the file has no end
  std::string writing;

  std::thread thread;
};

void AccessLog::Writer::ReportDrops() {
  const uint64_t count = dropped;
  if (count == reported) return;
  const MonoTime now = MonoNow();
  if (now < next_report) return;
  next_report = now + kReportInterval;
  const int error = last_error;
  Log(LogLevel::kWarn, "access log: lines dropped",
      {{"lines", count - reported},
       {"cause", error == 0 ? "the file takes them too slowly" : std::strerror(error)}});
  reported = count;
}

void AccessLog::Writer::Run() {
  std::unique_lock lock(mutex);
  while (true) {
    const auto urgent = [&] { return waiting.size() >= kBatch || new_fd >= 0 || stopping; };
    changed.wait(lock, [&] { return !waiting.empty() || urgent(); });
    changed.wait_for(lock, kLinger, urgent);
    const bool last = stopping;  // nothing comes after it
    writing.swap(waiting);
    lock.unlock();
    TakeNewDescriptor();
    WriteOut();
    unwritten -= writing.size();
    writing.clear();
    lock.lock();
    if (last) break;
  }
  finished = true;
  changed.notify_all();
}

// Writes all of `writing`, or drops what cannot be written.
void AccessLog::Writer::WriteOut() {
  std::string_view end_of_torn = torn ? "\n" : "";
  std::string_view left = writing;
  if (WriteAll(end_of_torn) && WriteAll(left)) return;
  last_error = errno;
  dropped += CountLines(left);
}

// Writes from the front of `left` until it is empty; false with errno when that cannot be done.
bool AccessLog::Writer::WriteAll(std::string_view& left) {
  while (!left.empty()) {
    const size_t written = WriteSome(left);
    if (written > 0) {
      torn = left[written - 1] != '\n';
      left.remove_prefix(written);
    } else if (errno == EAGAIN) {
      if (!AwaitWritable()) return false;
      TakeNewDescriptor();
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// One write; 0 with errno when nothing was taken. A pipe is asked first, because its writer would
// block, and gets whole lines of at most PIPE_BUF bytes, which do not mix with other workers'
// lines.
size_t AccessLog::Writer::WriteSome(std::string_view bytes) {
  if (!regular) {
    pollfd poll_fd{fd, POLLOUT, 0};
    if (poll(&poll_fd, 1, 0) == 0) {
      errno = EAGAIN;
      return 0;
    }
    if (bytes.size() > PIPE_BUF) {
      const size_t end = bytes.substr(0, PIPE_BUF).rfind('\n');
      bytes = bytes.substr(0, end == std::string_view::npos ? PIPE_BUF : end + 1);
    }
  }
  const ssize_t written = write(fd, bytes.data(), bytes.size());
  if (written == 0) errno = EIO;  // POSIX leaves it open; never try again for ever
  return written > 0 ? static_cast<size_t>(written) : 0;
}

// Waits for a stalled pipe; false when it is time to give up. In short steps, since a new
// descriptor or the end may come meanwhile.
bool AccessLog::Writer::AwaitWritable() {
  while (new_fd < 0) {
    pollfd poll_fd{fd, POLLOUT, 0};
    if (poll(&poll_fd, 1, static_cast<int>(kLinger.count())) != 0) return true;
    if (stopping && MonoNow() >= give_up) {
      errno = EAGAIN;
      return false;
    }
  }
  return true;
}

void AccessLog::Writer::TakeNewDescriptor() {
  const int next = new_fd.exchange(-1);
  if (next < 0) return;
  close(fd);
  fd = next;
  regular = IsRegularFile(fd);
  torn = false;
}

AccessLog::AccessLog(int fd, AccessLogFormat format, size_t capacity)
    : writer_(std::make_unique<Writer>(fd, std::move(format), capacity)) {
  // Signals belong to the loop's thread, and a pipe without a reader must be an error only.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  writer_->thread = std::thread([writer = writer_.get()] { writer->Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

AccessLog::~AccessLog() {
  Flush();
  std::unique_lock lock(writer_->mutex);
  writer_->give_up = MonoNow() + kPipeLimit;
  writer_->stopping = true;
  writer_->changed.notify_all();
  const bool finished =
      writer_->changed.wait_for(lock, kShutdownLimit, [&] { return writer_->finished; });
  lock.unlock();
  writer_->next_report = {};
  writer_->ReportDrops();
  if (finished) {
    writer_->thread.join();
    return;
  }
  // The kernel holds the thread in a write that may never end. It keeps what it uses.
  writer_->thread.detach();
  static_cast<void>(writer_.release());
}

void AccessLog::Write(const AccessRecord& record, WallTime now) {
  Writer& writer = *writer_;
  const size_t before = writer.collected.size();
  writer.format.Append(writer.collected, record, now);
  if (writer.collected.size() + writer.unwritten <= writer.capacity) return;
  writer.collected.resize(before);
  ++writer.dropped;
}

void AccessLog::Flush() {
  Writer& writer = *writer_;
  writer.ReportDrops();
  if (writer.collected.empty()) return;
  writer.unwritten += writer.collected.size();
  bool wake = false;
  {
    const std::scoped_lock lock(writer.mutex);
    const size_t before = writer.waiting.size();
    if (before == 0) {
      writer.waiting.swap(writer.collected);
    } else {
      writer.waiting += writer.collected;
    }
    // Once to start the writer's wait for more, and once to end it.
    wake = before == 0 || (before < kBatch && writer.waiting.size() >= kBatch);
  }
  writer.collected.clear();
  if (wake) writer.changed.notify_one();
}

void AccessLog::Reopen(int fd) {
  {
    const std::scoped_lock lock(writer_->mutex);
    const int unused = writer_->new_fd.exchange(fd);
    if (unused >= 0) close(unused);
  }
  writer_->changed.notify_one();
}

void AccessLog::SetFormat(AccessLogFormat format) { writer_->format = std::move(format); }

uint64_t AccessLog::dropped() const { return writer_->dropped; }

}  // namespace sluice
