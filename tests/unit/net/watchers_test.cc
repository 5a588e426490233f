#include "gateway/net/watchers.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice {
namespace {

namespace fs = std::filesystem;

class WatchersTest : public testing::Test {
 protected:
  WatchersTest() : loop_(std::move(Loop::Make().value())) {
    std::string name = (fs::temp_directory_path() / "sluice-watch-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~WatchersTest() override { fs::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) {
    const fs::path path = directory_ / name;
    std::ofstream(path) << text;
    return path.string();
  }

  std::unique_ptr<Loop> loop_;
  fs::path directory_;
};

TEST_F(WatchersTest, TimerFiresOnce) {
  int fired = 0;
  Timer timer(*loop_);
  Timer end(*loop_);
  timer.Start(milliseconds(1), [&] {
    ++fired;
    end.Start(milliseconds(20), [&] { loop_->Stop(); });
  });
  loop_->Run();
  EXPECT_EQ(fired, 1);
}

// Whoever waits for times that differ by a millisecond, as retries do, is called in their order: a
// coarser timer would keep the order of the starts. Parts of a millisecond are rounded up.
TEST_F(WatchersTest, TimersKeepMilliseconds) {
  const std::vector<Duration> delays = {milliseconds(3), milliseconds(2), microseconds(1500),
                                        milliseconds(1), microseconds(200)};
  std::vector<std::unique_ptr<Timer>> timers;
  std::vector<Duration> fired;
  for (const Duration delay : delays) {
    timers.push_back(std::make_unique<Timer>(*loop_));
    timers.back()->Start(delay, [&, delay] {
      fired.push_back(delay);
      if (fired.size() == delays.size()) loop_->Stop();
    });
  }
  loop_->Run();
  EXPECT_THAT(fired, testing::ElementsAre(milliseconds(1), microseconds(200), milliseconds(2),
                                          microseconds(1500), milliseconds(3)));
}

TEST_F(WatchersTest, NoTimerFiresEarly) {
  Timer timer(*loop_);
  MonoTime began;
  Duration shortest = Duration::max();
  int rounds = 0;
  const std::function<void()> start = [&] {
    // At another time of the millisecond in each round.
    for (const MonoTime end = MonoNow() + microseconds(170); MonoNow() < end;) {
    }
    began = MonoNow();
    timer.Start(milliseconds(2), [&] {
      shortest = std::min(shortest, Duration(MonoNow() - began));
      ++rounds == 40 ? loop_->Stop() : start();
    });
  };
  // Turns without end, so that no sleep hides what the clock says.
  const std::function<void()> turn = [&] { loop_->Post(turn); };
  turn();
  start();
  loop_->Run();
  EXPECT_GE(shortest, milliseconds(2));
}

TEST_F(WatchersTest, TimerMayBeDestroyedByItsOwnCall) {
  auto timer = std::make_unique<Timer>(*loop_);
  timer->StartRepeating(milliseconds(1), [&] {
    timer.reset();
    loop_->Stop();
  });
  loop_->Run();
  EXPECT_EQ(timer, nullptr);
}

TEST_F(WatchersTest, StoppedTimerDoesNotFire) {
  int fired = 0;
  Timer stopped(*loop_);
  Timer end(*loop_);
  stopped.Start(milliseconds(1), [&] { ++fired; });
  end.Start(milliseconds(20), [&] { loop_->Stop(); });
  stopped.Stop();
  loop_->Run();
  EXPECT_EQ(fired, 0);
}

TEST_F(WatchersTest, SignalIsDelivered) {
  int seen = 0;
  SignalWatcher watcher(*loop_, SIGUSR2, [&] {
    ++seen;
    loop_->Stop();
  });
  raise(SIGUSR2);
  loop_->Run();
  EXPECT_EQ(seen, 1);
}

TEST_F(WatchersTest, ReadableWatcherSeesDataAndHangUp) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  int calls = 0;
  auto watcher = ReadableWatcher::Make(*loop_, ends[0], [&] {
    ++calls;
    loop_->Stop();
  });
  ASSERT_TRUE(watcher.has_value());
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  loop_->Run();
  EXPECT_EQ(calls, 1);
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
  close(ends[1]);
  loop_->Run();
  EXPECT_EQ(calls, 2);
  watcher->reset();
  close(ends[0]);
}

TEST_F(WatchersTest, FileWatcherSeesWritingInPlaceAndRenamingOver) {
  const std::string path = Write("config.yaml", "one");
  int changes = 0;
  auto watcher = FileWatcher::Make(*loop_, path, [&] {
    ++changes;
    loop_->Stop();
  });
  ASSERT_TRUE(watcher.has_value());
  Write("config.yaml", "two and more");
  loop_->Run();
  EXPECT_EQ(changes, 1);
  fs::rename(Write("new", "three"), path);
  loop_->Run();
  EXPECT_EQ(changes, 2);
}

TEST_F(WatchersTest, FileWatcherSeesASwappedLinkAndIgnoresNeighbours) {
  Write("v1", "one");
  Write("v2", "two");
  fs::create_symlink("v1", directory_ / "current");
  fs::create_symlink("current", directory_ / "config.yaml");
  int changes = 0;
  auto watcher = FileWatcher::Make(*loop_, (directory_ / "config.yaml").string(), [&] {
    ++changes;
    loop_->Stop();
  });
  ASSERT_TRUE(watcher.has_value());
  Write("neighbour", "noise");
  fs::create_symlink("v2", directory_ / "next");
  fs::rename(directory_ / "next", directory_ / "current");
  loop_->Run();
  EXPECT_EQ(changes, 1);
}

TEST_F(WatchersTest, FileWatcherNamesADirectoryThatIsMissing) {
  auto watcher = FileWatcher::Make(*loop_, "/nonexistent/config.yaml", [] {});
  ASSERT_FALSE(watcher.has_value());
  EXPECT_THAT(watcher.error().detail, testing::HasSubstr("/nonexistent"));
}

}  // namespace
}  // namespace sluice
