#include "gateway/observe/access_log.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/log.h"

namespace sluice {
namespace {

using testing::HasSubstr;

AccessLogFormat Format(std::string_view text) {
  auto format = AccessLogFormat::Make(text);
  EXPECT_TRUE(format.has_value());
  return *std::move(format);
}

class AccessLogTest : public testing::Test {
 protected:
  AccessLogTest() {
    std::string name = testing::TempDir() + "access_log_XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~AccessLogTest() override {
    for (const std::string& file : files_) unlink(file.c_str());
    rmdir(directory_.c_str());
  }

  int Open(const std::string& name) {
    const std::string path = directory_ + "/" + name;
    files_.push_back(path);
    const int fd = open(path.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    EXPECT_GE(fd, 0);
    return fd;
  }

  std::string Content(const std::string& name) {
    std::ifstream in(directory_ + "/" + name);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  // Writes a line that says only `id`.
  static void WriteLine(AccessLog& log, std::string_view id) {
    AccessRecord record;
    record.route_id = id;
    log.Write(record, WallNow());
  }

  // Until what another thread does has come to pass; ctest's time limit is the only clock.
  template <typename Condition>
  static void Await(const Condition& condition) {
    while (!condition()) std::this_thread::yield();
  }

 private:
  std::string directory_;
  std::vector<std::string> files_;
};

struct Pipe {
  explicit Pipe(int flags = 0) { EXPECT_EQ(pipe2(&read_end, flags | O_CLOEXEC), 0); }

  // Until nothing more fits.
  void Fill() const {
    const std::string filler(4096, 'x');
    while (write(write_end, filler.data(), filler.size()) > 0) {
    }
  }

  int read_end = -1;
  int write_end = -1;  // directly behind: pipe2 fills both
};
static_assert(sizeof(Pipe) == 2 * sizeof(int));

// The error log, captured.
class CapturedErrors {
 public:
  CapturedErrors() : pipe_(O_NONBLOCK) { SetLogOutput(pipe_.write_end); }
  ~CapturedErrors() {
    SetLogOutput(STDERR_FILENO);
    close(pipe_.read_end);
    close(pipe_.write_end);
  }
  std::string Take() const {
    std::array<char, 4096> bytes{};
    const ssize_t size = read(pipe_.read_end, bytes.data(), bytes.size());
    return size > 0 ? std::string(bytes.data(), static_cast<size_t>(size)) : std::string();
  }

 private:
  Pipe pipe_;
};

TEST_F(AccessLogTest, WritesLinesInOrder) {
  {
    AccessLog log(Open("log"), Format("$route_id"));
    WriteLine(log, "a");
    log.Flush();
    WriteLine(log, "b");
    WriteLine(log, "c");
  }
  EXPECT_EQ(Content("log"), "a\nb\nc\n");
}

TEST_F(AccessLogTest, WritesWithoutBeingDestroyed) {
  AccessLog log(Open("log"), Format("$route_id"));
  WriteLine(log, "a");
  log.Flush();
  Await([&] { return Content("log") == "a\n"; });
  WriteLine(log, "b");
  log.Flush();
  Await([&] { return Content("log") == "a\nb\n"; });
  EXPECT_EQ(log.dropped(), 0U);
}

TEST_F(AccessLogTest, ManyLinesArriveWhole) {
  constexpr int kLines = 100'000;
  std::string expected;
  {
    AccessLog log(Open("log"), Format("$route_id"), 1 << 30);
    for (int i = 0; i < kLines; ++i) {
      const std::string id = std::to_string(i);
      expected += id + "\n";
      WriteLine(log, id);
      if (i % 7 == 0) log.Flush();
    }
  }
  EXPECT_TRUE(Content("log") == expected);
}

TEST_F(AccessLogTest, ReopenSwitchesTheFile) {
  {
    AccessLog log(Open("old"), Format("$route_id"));
    WriteLine(log, "a");
    log.Flush();
    Await([&] { return Content("old") == "a\n"; });
    log.Reopen(Open("new"));
    WriteLine(log, "b");
  }
  EXPECT_EQ(Content("old"), "a\n");
  EXPECT_EQ(Content("new"), "b\n");
}

TEST_F(AccessLogTest, ReopenClosesTheOldFileWithoutALine) {
  const Pipe pipe;
  AccessLog log(pipe.write_end, Format("$route_id"));
  log.Reopen(Open("new"));
  char byte = 0;
  EXPECT_EQ(read(pipe.read_end, &byte, 1), 0) << "end of file, once the other end was closed";
  close(pipe.read_end);
}

TEST_F(AccessLogTest, ReopenWhileWritingLosesNothing) {
  constexpr int kLines = 20'000;
  std::string expected;
  {
    AccessLog log(Open("log0"), Format("$route_id"), 1 << 30);
    for (int i = 0; i < kLines; ++i) {
      const std::string id = std::to_string(i);
      expected += id + "\n";
      WriteLine(log, id);
      log.Flush();
      if (i % 1000 == 999) log.Reopen(Open("log" + std::to_string(i / 1000 + 1)));
    }
  }
  std::string all;
  for (int i = 0; i <= kLines / 1000; ++i) all += Content("log" + std::to_string(i));
  EXPECT_TRUE(all == expected);
}

TEST_F(AccessLogTest, SetFormatHoldsForLaterLines) {
  {
    AccessLog log(Open("log"), Format("$route_id"));
    WriteLine(log, "a");
    log.SetFormat(Format("new $route_id"));
    WriteLine(log, "b");
  }
  EXPECT_EQ(Content("log"), "a\nnew b\n");
}

TEST_F(AccessLogTest, FullDiskDropsCountsAndWarnsOnce) {
  const CapturedErrors errors;
  {
    AccessLog log(open("/dev/full", O_WRONLY | O_CLOEXEC), Format("$route_id"));
    for (int i = 0; i < 3; ++i) WriteLine(log, "a");
    log.Flush();
    Await([&] { return log.dropped() == 3; });
    log.Flush();
    const std::string warnings = errors.Take();
    EXPECT_THAT(warnings, HasSubstr("lines=3"));
    EXPECT_THAT(warnings, HasSubstr("No space left on device"));
    EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 1) << warnings;
    WriteLine(log, "b");
  }
  EXPECT_THAT(errors.Take(), HasSubstr("lines=1")) << "the rest is reported at the end";
}

TEST_F(AccessLogTest, DeadReaderOfAPipeDropsAndCounts) {
  const CapturedErrors errors;
  const Pipe pipe;
  close(pipe.read_end);
  {
    AccessLog log(pipe.write_end, Format("$route_id"));
    WriteLine(log, "a");
    log.Flush();
    Await([&] { return log.dropped() == 1; });
    log.Reopen(Open("log"));
    WriteLine(log, "b");
  }
  EXPECT_THAT(errors.Take(), HasSubstr("Broken pipe"));
  EXPECT_EQ(Content("log"), "b\n");
}

// A reader that stops reading: what fits below the capacity waits, the rest is dropped, the caller
// never waits, and once it reads again every line is whole.
TEST_F(AccessLogTest, StalledPipeDropsAboveTheCapacity) {
  const CapturedErrors errors;
  const Pipe pipe;
  constexpr int kLines = 100'000;
  uint64_t dropped = 0;
  std::string received;
  std::atomic<uint64_t> lines_received = 0;
  std::thread reader;
  {
    AccessLog log(pipe.write_end, Format("$route_id"), 256 * 1024);
    for (int i = 0; i < kLines; ++i) {
      WriteLine(log, "line " + std::to_string(i) + " end");
      log.Flush();
    }
    EXPECT_GT(log.dropped(), 0U);
    reader = std::thread([&] {
      std::array<char, 65536> bytes{};
      while (true) {
        const ssize_t size = read(pipe.read_end, bytes.data(), bytes.size());
        if (size <= 0) return;
        received.append(bytes.data(), static_cast<size_t>(size));
        lines_received += static_cast<uint64_t>(std::count(&bytes[0], &bytes[0] + size, '\n'));
      }
    });
    Await([&] { return lines_received + log.dropped() == static_cast<uint64_t>(kLines); });
    dropped = log.dropped();
  }
  reader.join();
  close(pipe.read_end);
  std::istringstream lines(received);
  uint64_t count = 0;
  int previous = -1;
  for (std::string line; std::getline(lines, line); ++count) {
    int number = -1;
    int size = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "line %d end%n", &number, &size), 1) << line;
    ASSERT_EQ(static_cast<size_t>(size), line.size()) << line;
    ASSERT_GT(number, previous);
    previous = number;
  }
  EXPECT_EQ(count + dropped, static_cast<uint64_t>(kLines));
  EXPECT_THAT(errors.Take(), HasSubstr("too slowly"));
}

TEST_F(AccessLogTest, ReopenFreesFromAStalledPipe) {
  const Pipe pipe(O_NONBLOCK);
  pipe.Fill();
  AccessLog log(pipe.write_end, Format("$route_id"));
  WriteLine(log, "a");
  log.Flush();
  log.Reopen(Open("log"));
  Await([&] { return Content("log") == "a\n"; });
  EXPECT_EQ(log.dropped(), 0U);
  close(pipe.read_end);
}

TEST_F(AccessLogTest, StalledPipeDoesNotHoldTheEnd) {
  const CapturedErrors errors;
  const Pipe pipe(O_NONBLOCK);
  pipe.Fill();
  {
    AccessLog log(pipe.write_end, Format("$route_id"));
    WriteLine(log, "a");
  }  // would hang here
  EXPECT_THAT(errors.Take(), HasSubstr("lines=1"));
  close(pipe.read_end);
}

// A disk that fills in the middle of a line: the rest of that line is lost, and the next line does
// not continue it.
TEST_F(AccessLogTest, LineAfterATornOneStartsFresh) {
  const CapturedErrors errors;
  struct sigaction ignore {};
  struct sigaction old_action {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &ignore, &old_action);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  {
    AccessLog log(Open("log"), Format("$route_id"));
    const rlimit small{6, old_limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    WriteLine(log, "abc");
    WriteLine(log, "def");
    log.Flush();
    Await([&] { return log.dropped() == 1; });
    setrlimit(RLIMIT_FSIZE, &old_limit);
    WriteLine(log, "ghi");
  }
  sigaction(SIGXFSZ, &old_action, nullptr);
  EXPECT_EQ(Content("log"), "abc\nde\nghi\n");
}

}  // namespace
}  // namespace sluice
