#include "gateway/net/stream.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net/run_until.h"

namespace sluice {
namespace {

// A stream over one end of a socket pair that records what happens to it.
class Recorder final : public StreamObserver {
 public:
  explicit Recorder(Loop& loop) : stream(loop, *this) {}

  void OnConnected(Status status) override {
    connected = status.has_value();
    connect_error = status.has_value() ? "" : status.error().detail;
    if (on_event) on_event();
  }
  void OnRead(std::string_view bytes) override {
    received += bytes;
    if (on_event) on_event();
  }
  void OnRelayed(uint64_t count) override {
    relayed += count;
    if (on_event) on_event();
  }
  void OnEof() override {
    eof = true;
    if (on_event) on_event();
  }
  void OnStreamError(int error_number) override {
    error = error_number;
    stream.Close();
  }
  void OnBlocked() override {
    ++blocked;
    if (on_blocked) on_blocked();
  }
  void OnWritable() override {
    ++writable;
    if (on_event) on_event();
  }
  void OnClosed() override {
    closed = true;
    if (on_event) on_event();
  }

  Stream stream;
  std::function<void()> on_event;
  std::function<void()> on_blocked;
  std::string received;
  std::string connect_error;
  uint64_t relayed = 0;
  bool connected = false;
  bool eof = false;
  bool closed = false;
  int error = 0;
  int blocked = 0;
  int writable = 0;
};

class StreamTest : public testing::Test {
 protected:
  StreamTest() : loop_(std::move(*Loop::Make())) {}

  // Opens `recorder` on one end and returns the other, non-blocking.
  int Open(Recorder& recorder) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    EXPECT_TRUE(recorder.stream.Accept(ends[0]).has_value());
    return ends[1];
  }

  void RunUntil(const std::function<bool()>& done) { ASSERT_TRUE(sluice::RunUntil(*loop_, done)); }

  void CloseAll(std::initializer_list<Recorder*> recorders) {
    for (Recorder* recorder : recorders) recorder->stream.Close();
    RunUntil([&] {
      return std::all_of(recorders.begin(), recorders.end(),
                         [](Recorder* recorder) { return recorder->stream.is_closed(); });
    });
  }

  static std::string ReadAvailable(int fd) {
    std::string out;
    char buffer[65536];
    ssize_t count = 0;
    while ((count = read(fd, buffer, sizeof(buffer))) > 0) out.append(buffer, count);
    return out;
  }

  static std::string Pattern(size_t size) {
    std::string out(size, '\0');
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + i * 31 % 97 % 26);
    return out;
  }

  std::unique_ptr<Loop> loop_;
};

TEST_F(StreamTest, SendsPiecesInOneGoWhenTheCallbackEnds) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  recorder.stream.Send("head ");
  recorder.stream.Send("body");
  EXPECT_EQ(ReadAvailable(peer), "");
  loop_->FlushDirty();
  EXPECT_EQ(ReadAvailable(peer), "head body");
  EXPECT_EQ(recorder.stream.unsent(), 0u);
  EXPECT_EQ(recorder.stream.bytes_sent(), 9u);
  CloseAll({&recorder});
  close(peer);
}

TEST_F(StreamTest, TakesMorePiecesThanOneCallSends) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    recorder.stream.Send("piece,");
    expected += "piece,";
  }
  loop_->FlushDirty();
  EXPECT_EQ(ReadAvailable(peer), expected);
  CloseAll({&recorder});
  close(peer);
}

TEST_F(StreamTest, TellsLaterThatSendingFailedInTheMiddleOfTheOwnersWork) {
  Recorder recorder(*loop_);
  close(Open(recorder));
  for (int i = 0; i < 200; ++i) {
    recorder.stream.Send("piece,");
    ASSERT_EQ(recorder.error, 0);
  }
  EXPECT_EQ(recorder.stream.unsent(), 0u) << "there is no point in keeping it";
  recorder.stream.PauseReading();
  RunUntil([&] { return recorder.closed; });
  EXPECT_EQ(recorder.error, EPIPE);
}

TEST_F(StreamTest, AFailureThatWasNotToldYetIsNotToldAfterAClose) {
  Recorder recorder(*loop_);
  close(Open(recorder));
  for (int i = 0; i < 200; ++i) recorder.stream.Send("piece,");
  CloseAll({&recorder});
  EXPECT_EQ(recorder.error, 0);
}

TEST_F(StreamTest, KeepsSmallOutputOfManyCallbacksForOneSend) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    std::string lent = "callback " + std::to_string(i) + ";";
    expected += lent;
    recorder.stream.Send(lent);
    loop_->KeepSmall();
    lent.assign(lent.size(), 'x');  // the bytes were lent until here
  }
  loop_->FlushDirty();
  EXPECT_EQ(ReadAvailable(peer), expected);
  CloseAll({&recorder});
  close(peer);
}

TEST_F(StreamTest, SendsLargeOutputWhenTheCallbackEndsBehindWhatWasKept) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  recorder.stream.Send("small;");
  loop_->KeepSmall();
  EXPECT_EQ(ReadAvailable(peer), "");
  const std::string large = Pattern(20'000);
  recorder.stream.Send(large);
  loop_->KeepSmall();
  EXPECT_EQ(ReadAvailable(peer), "small;" + large);
  CloseAll({&recorder});
  close(peer);
}

TEST_F(StreamTest, ReadsAfterAPauseWhatCameMeanwhile) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  recorder.stream.PauseReading();
  ASSERT_EQ(write(peer, "late", 4), 4);
  Recorder other(*loop_);  // shows that the loop has turned
  const int other_peer = Open(other);
  ASSERT_EQ(write(other_peer, "x", 1), 1);
  RunUntil([&] { return !other.received.empty(); });
  EXPECT_EQ(recorder.received, "");
  recorder.stream.ResumeReading();
  RunUntil([&] { return !recorder.received.empty(); });
  EXPECT_EQ(recorder.received, "late");
  CloseAll({&recorder, &other});
  close(peer);
  close(other_peer);
}

TEST_F(StreamTest, KeepsWhatASlowPeerDoesNotTakeAndReportsIt) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  const std::string big = Pattern(4 * 1024 * 1024);
  recorder.stream.Send(big);
  recorder.stream.Send("end");
  loop_->FlushDirty();
  EXPECT_EQ(recorder.blocked, 1);
  EXPECT_GT(recorder.stream.unsent(), Stream::kHighWatermark);
  std::string got;
  RunUntil([&] {
    got += ReadAvailable(peer);
    return got.size() == big.size() + 3;
  });
  EXPECT_EQ(got, big + "end");
  RunUntil([&] { return recorder.stream.unsent() == 0; });
  EXPECT_EQ(recorder.writable, 1);
  CloseAll({&recorder});
  close(peer);
}

TEST_F(StreamTest, ClosesAfterTheLastByteWasTaken) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  const std::string big = Pattern(2 * 1024 * 1024);
  recorder.stream.Send(big);
  recorder.stream.CloseAfterFlush();
  loop_->FlushDirty();
  EXPECT_FALSE(recorder.stream.is_closed());
  std::string got;
  RunUntil([&] {
    got += ReadAvailable(peer);
    return recorder.closed;
  });
  got += ReadAvailable(peer);
  EXPECT_EQ(got, big);
  close(peer);
}

TEST_F(StreamTest, ReportsTheEndAndErrorsOfThePeer) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  ASSERT_EQ(write(peer, "last", 4), 4);
  close(peer);
  RunUntil([&] { return recorder.eof; });
  EXPECT_EQ(recorder.received, "last");
  recorder.stream.Send("nobody reads this");
  loop_->FlushDirty();
  EXPECT_EQ(recorder.error, EPIPE);
  RunUntil([&] { return recorder.closed; });
}

TEST_F(StreamTest, StopsReadingWhilePaused) {
  Recorder recorder(*loop_);
  const int peer = Open(recorder);
  recorder.stream.PauseReading();
  ASSERT_EQ(write(peer, "x", 1), 1);
  Recorder other(*loop_);
  const int other_peer = Open(other);
  ASSERT_EQ(write(other_peer, "y", 1), 1);
  RunUntil([&] { return other.received == "y"; });
  EXPECT_EQ(recorder.received, "");
  recorder.stream.ResumeReading();
  RunUntil([&] { return recorder.received == "x"; });
  CloseAll({&recorder, &other});
  close(peer);
  close(other_peer);
}

TEST_F(StreamTest, ReportsARefusedConnection) {
  Recorder recorder(*loop_);
  recorder.stream.Connect(*SocketAddress::Make("unix:/nonexistent/socket"));
  RunUntil([&] { return !recorder.connect_error.empty(); });
  EXPECT_FALSE(recorder.connected);
  EXPECT_NE(recorder.connect_error.find("connect"), std::string::npos);
  CloseAll({&recorder});
}

TEST_F(StreamTest, RelaysExactlyTheBytesAskedFor) {
  Recorder source(*loop_);
  Recorder sink(*loop_);
  const int in = Open(source);
  const int out = Open(sink);
  const std::string body = Pattern(300 * 1024);
  source.stream.RelayTo(sink.stream, body.size());
  std::string offered = body + "next";
  std::string got;
  RunUntil([&] {
    got += ReadAvailable(out);
    // Only as much as the sink's socket holds: above that, bytes come through OnRead.
    if (got.size() == source.relayed) {
      const ssize_t count = write(in, offered.data(), std::min<size_t>(offered.size(), 64 * 1024));
      if (count > 0) offered.erase(0, static_cast<size_t>(count));
    }
    return source.received == "next" && got.size() == body.size();
  });
  EXPECT_EQ(got, body);
  EXPECT_EQ(source.relayed, body.size());
  EXPECT_EQ(sink.stream.bytes_sent(), body.size());
  CloseAll({&source, &sink});
  close(in);
  close(out);
}

TEST_F(StreamTest, RelayLosesNothingWhenTheSinkIsSlow) {
  Recorder source(*loop_);
  Recorder sink(*loop_);
  const int in = Open(source);
  const int out = Open(sink);
  sink.on_blocked = [&] { source.stream.PauseReading(); };
  sink.on_event = [&] { source.stream.ResumeReading(); };
  const std::string body = Pattern(8 * 1024 * 1024);
  source.stream.RelayTo(sink.stream, body.size());
  // While the sink has unsent output bytes come through OnRead: pass them on, as an owner does.
  source.on_event = [&] {
    sink.stream.Send(source.received);
    loop_->FlushDirty();
    source.received.clear();
  };
  std::string offered = body;
  std::string got;
  int turn = 0;
  RunUntil([&] {
    const ssize_t count = write(in, offered.data(), offered.size());
    if (count > 0) offered.erase(0, static_cast<size_t>(count));
    if (++turn % 3 == 0 || offered.empty()) got += ReadAvailable(out);
    return got.size() == body.size();
  });
  EXPECT_EQ(got, body);
  EXPECT_GT(sink.blocked, 0);
  CloseAll({&source, &sink});
  close(in);
  close(out);
}

}  // namespace
}  // namespace sluice
