#include "gateway/proxy/tunnel.h"

#include <gtest/gtest.h>

#include "gateway/net/watchers.h"

namespace sluice {
namespace {

RequestHead Upgrade() {
  RequestHead head;
  head.method = Method::kGet;
  head.fields.Add("Connection", "keep-alive, Upgrade");
  head.fields.Add("Upgrade", "WebSocket");
  return head;
}

ResponseHead Answer(std::string_view upgrade, std::string_view connection) {
  ResponseHead head;
  head.status = 101;
  if (!upgrade.empty()) head.fields.Add("Upgrade", upgrade);
  if (!connection.empty()) head.fields.Add("Connection", connection);
  return head;
}

TEST(TunnelTest, KnowsWhoAsks) {
  EXPECT_TRUE(Tunnel::IsAskedFor(Upgrade()));
  RequestHead head = Upgrade();
  head.method = Method::kPost;
  EXPECT_FALSE(Tunnel::IsAskedFor(head));
  head = Upgrade();
  head.version = HttpVersion::kHttp10;
  EXPECT_FALSE(Tunnel::IsAskedFor(head));
  head = Upgrade();
  head.version = HttpVersion::kHttp2;
  EXPECT_FALSE(Tunnel::IsAskedFor(head));
  head = Upgrade();
  head.body = {BodyFraming::Kind::kLength, 1};
  EXPECT_FALSE(Tunnel::IsAskedFor(head));
  head = Upgrade();
  head.body = {BodyFraming::Kind::kLength, 0};
  EXPECT_TRUE(Tunnel::IsAskedFor(head));
  head = Upgrade();
  head.body = {BodyFraming::Kind::kChunked};
  EXPECT_FALSE(Tunnel::IsAskedFor(head));
}

Status Check(const ResponseHead& answer) { return Tunnel::CheckAnswer(Upgrade(), answer); }

TEST(TunnelTest, ChecksTheAnswer) {
  EXPECT_TRUE(Check(Answer("websocket", "Upgrade")).has_value());
  EXPECT_TRUE(Check(Answer("WebSocket", "x, upgrade")).has_value());
  EXPECT_FALSE(Check(Answer("websocket, h2c", "Upgrade")).has_value());
  EXPECT_FALSE(Check(Answer("h2c", "Upgrade")).has_value());
  EXPECT_FALSE(Check(Answer("", "Upgrade")).has_value());
  EXPECT_FALSE(Check(Answer("websocket", "")).has_value());
  EXPECT_EQ(Check(Answer("", "")).error().code, ErrorCode::kInvalidResponse);
}

TEST(TunnelTest, ComparesTheAnswerToAKeyOfOurs) {
  RequestHead request = Upgrade();
  request.fields.Add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
  ResponseHead answer = Answer("websocket", "Upgrade");
  EXPECT_TRUE(Tunnel::CheckAnswer(request, answer).has_value());
  request.websocket = true;
  EXPECT_FALSE(Tunnel::CheckAnswer(request, answer).has_value());
  answer.fields.Add("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(Tunnel::CheckAnswer(request, answer).has_value());
  request.fields.Clear();
  EXPECT_FALSE(Tunnel::CheckAnswer(request, answer).has_value());
}

class IdleCount final : public Tunnel::Observer {
 public:
  explicit IdleCount(Loop& loop) : loop_(loop) {}
  void OnTunnelIdle() override {
    ++count;
    loop_.Stop();
  }
  int count = 0;

 private:
  Loop& loop_;
};

class TunnelStateTest : public testing::Test {
 protected:
  // Until the loop is stopped, by idleness or by a later timer.
  void RunFor(Duration time) {
    Timer timer(*loop_);
    timer.Start(time, [this] { loop_->Stop(); });
    loop_->Run();
  }

  std::unique_ptr<Loop> loop_ = std::move(Loop::Make().value());
  IdleCount idle_{*loop_};
  Tunnel tunnel_{*loop_, idle_};
};

TEST_F(TunnelStateTest, IsOverWhenBothSidesHaveEnded) {
  tunnel_.Ask();
  EXPECT_TRUE(tunnel_.is_asked());
  tunnel_.Open(hours(1));
  EXPECT_TRUE(tunnel_.is_open());
  EXPECT_FALSE(tunnel_.is_asked());
  EXPECT_FALSE(tunnel_.End(Tunnel::Side::kClient));
  EXPECT_FALSE(tunnel_.End(Tunnel::Side::kClient));
  EXPECT_TRUE(tunnel_.End(Tunnel::Side::kUpstream));
  tunnel_.Close();
  tunnel_.Open(hours(1));
  EXPECT_FALSE(tunnel_.End(Tunnel::Side::kUpstream));
}

TEST_F(TunnelStateTest, ReportsIdlenessOnce) {
  tunnel_.Open(milliseconds(10));
  RunFor(seconds(60));
  EXPECT_EQ(idle_.count, 1);
  RunFor(milliseconds(400));
  EXPECT_EQ(idle_.count, 1);
}

TEST_F(TunnelStateTest, IsNeverIdleWhileASideIsBlockedOrAfterItsEnd) {
  tunnel_.Open(milliseconds(10));
  tunnel_.SetBlocked(Tunnel::Side::kClient, true);
  tunnel_.SetBlocked(Tunnel::Side::kUpstream, true);
  tunnel_.SetBlocked(Tunnel::Side::kClient, false);
  tunnel_.OnBytes();
  RunFor(milliseconds(400));
  EXPECT_EQ(idle_.count, 0);
  tunnel_.SetBlocked(Tunnel::Side::kUpstream, false);
  RunFor(seconds(60));
  EXPECT_EQ(idle_.count, 1);
  tunnel_.OnBytes();
  tunnel_.Close();
  tunnel_.OnBytes();
  RunFor(milliseconds(400));
  EXPECT_EQ(idle_.count, 1);
}

}  // namespace
}  // namespace sluice
