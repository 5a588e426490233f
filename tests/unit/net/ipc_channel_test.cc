#include "gateway/net/ipc_channel.h"

#include <optional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sluice {
namespace {

using testing::Eq;
using testing::HasSubstr;
using testing::Optional;

// Collects what arrives and stops the loop once `wanted` messages or the end came.
class Recorder final : public IpcChannel::Observer {
 public:
  explicit Recorder(Loop& loop) : loop_(loop) {}

  void OnMessage(IpcMessage message) override {
    messages.push_back(std::move(message));
    if (messages.size() >= wanted) loop_.Stop();
  }
  void OnChannelClosed(Status why) override {
    end = why.has_value() ? "" : why.error().detail;
    loop_.Stop();
  }

  std::vector<IpcMessage> messages;
  std::optional<std::string> end;
  size_t wanted = 1;

 private:
  Loop& loop_;
};

class IpcChannelTest : public testing::Test {
 protected:
  IpcChannelTest()
      : loop_(std::move(Loop::Make().value())), left_seen_(*loop_), right_seen_(*loop_) {
    auto pair = std::move(IpcChannel::MakePair().value());
    right_raw_ = pair.second.get();
    left_ = std::move(IpcChannel::Make(*loop_, std::move(pair.first), left_seen_).value());
    right_fd_ = std::move(pair.second);
  }
  void OpenRight() {
    right_ = std::move(IpcChannel::Make(*loop_, std::move(right_fd_), right_seen_).value());
  }

  std::unique_ptr<Loop> loop_;
  Recorder left_seen_;
  Recorder right_seen_;
  std::unique_ptr<IpcChannel> left_;
  std::unique_ptr<IpcChannel> right_;
  UniqueFd right_fd_;
  int right_raw_ = -1;
};

TEST_F(IpcChannelTest, CarriesTypePayloadAndDescriptors) {
  OpenRight();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_TRUE(left_->Send(7, "payload", std::span(ends, 1)).has_value());
  close(ends[0]);  // the message has its own copy
  loop_->Run();
  ASSERT_EQ(right_seen_.messages.size(), 1u);
  const IpcMessage& message = right_seen_.messages[0];
  EXPECT_EQ(message.type, 7u);
  EXPECT_EQ(message.payload, "payload");
  ASSERT_EQ(message.fds.size(), 1u);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(message.fds[0].get(), &byte, 1), 1);
  EXPECT_NE(fcntl(message.fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  close(ends[1]);
}

TEST_F(IpcChannelTest, KeepsOrderWhenTheSocketIsFull) {
  const std::string payload(IpcChannel::kMaxPayload, 'x');
  constexpr size_t kCount = 100;
  for (uint32_t i = 0; i < kCount; ++i) ASSERT_TRUE(left_->Send(i, payload).has_value());
  EXPECT_FALSE(left_->is_idle());
  right_seen_.wanted = kCount;
  OpenRight();
  loop_->Run();
  ASSERT_EQ(right_seen_.messages.size(), kCount);
  for (uint32_t i = 0; i < kCount; ++i) EXPECT_EQ(right_seen_.messages[i].type, i);
  EXPECT_TRUE(left_->is_idle());
}

TEST_F(IpcChannelTest, RefusesToQueueWithoutLimit) {
  size_t sent = 0;
  Status status;
  while (status.has_value() && sent < 2 * IpcChannel::kMaxQueued) {
    status = left_->Send(1, "x");
    ++sent;
  }
  ASSERT_FALSE(status.has_value());
  EXPECT_THAT(status.error().detail, HasSubstr("does not read"));
}

TEST_F(IpcChannelTest, RefusesAMessageThatIsTooLarge) {
  const std::string payload(IpcChannel::kMaxPayload + 1, 'x');
  EXPECT_FALSE(left_->Send(1, payload).has_value());
}

TEST_F(IpcChannelTest, ReportsTheEndOnce) {
  right_fd_.Reset();
  loop_->Run();
  EXPECT_THAT(left_seen_.end, Optional(Eq("")));
}

TEST_F(IpcChannelTest, ReportsAFrameThatIsTooShort) {
  ASSERT_EQ(send(right_raw_, "abc", 3, 0), 3);
  loop_->Run();
  EXPECT_THAT(left_seen_.end, Optional(HasSubstr("3 bytes")));
}

TEST_F(IpcChannelTest, ReportsAFrameWhoseSizeIsALie) {
  const uint32_t frame[2] = {1, 1000};
  ASSERT_EQ(send(right_raw_, frame, sizeof(frame), 0), 8);
  loop_->Run();
  EXPECT_THAT(left_seen_.end, Optional(HasSubstr("announces 1000")));
  EXPECT_TRUE(left_seen_.messages.empty());
}

TEST_F(IpcChannelTest, ReportsAFrameThatIsTooLarge) {
  const std::string frame(IpcChannel::kMaxPayload + 9, 'x');
  ASSERT_EQ(send(right_raw_, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  loop_->Run();
  EXPECT_THAT(left_seen_.end, Optional(HasSubstr("larger than")));
}

}  // namespace
}  // namespace sluice
