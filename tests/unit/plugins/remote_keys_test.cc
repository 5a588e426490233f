#include "plugins/support/remote_keys.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/plugins/token_signer.h"

namespace sluice::plugins {
namespace {

class FakeServices final : public PluginServices {
 public:
  MonoTime now() const override { return time; }
  uint64_t Random() override { return 4; }
  uint32_t worker_index() const override { return 0; }
  SharedLimits& limits() override { std::abort(); }
  void RunOffLoop(std::function<void()> work, std::function<void()> done) override {
    work();
    done();
  }
  void After(Duration, std::function<void()>) override { std::abort(); }
  bool is_ending() const override { return false; }

  MonoTime time = MonoTime(hours(1));
};

class FakeSender final : public SubRequestSender {
 public:
  void Send(SubRequest, SubResponseCallback done) override { callbacks.push_back(std::move(done)); }

  void Answer(int status, std::string_view body) {
    const HeaderList fields;
    std::exchange(callbacks, {}).at(0)(SubResponse{status, fields, body});
  }
  void Fail() {
    std::exchange(callbacks, {}).at(0)(GatewayError(ErrorCode::kConnectFailed, "no one there"));
  }

  std::vector<SubResponseCallback> callbacks;
};

class RemoteKeysTest : public testing::Test {
 protected:
  // Of one key with this kid.
  static std::string Set(const std::string& id) {
    const TokenSigner signer("EdDSA");
    return R"({"keys":[{"kty":"OKP","crv":"Ed25519","kid":")" + id + R"(","x":")" +
           EncodeBase64(signer.RawPublicKey(), Base64::kUrl) + R"("}]})";
  }
  bool Begin() {
    return keys_->Begin({{}, sender_, services_}, [this] { ++done_; });
  }
  std::string Ids() const {
    std::string ids;
    if (keys_->keys() == nullptr) return "none";
    for (const JwkSet::Key& key : keys_->keys()->keys()) ids += key.id;
    return ids;
  }

  FakeServices services_;
  std::shared_ptr<FakeSender> sender_ = std::make_shared<FakeSender>();
  std::shared_ptr<RemoteKeys> keys_ = std::make_shared<RemoteKeys>("http://id.test");
  int done_ = 0;
};

TEST_F(RemoteKeysTest, AllWhoWaitAreServedByOneFetch) {
  ASSERT_TRUE(keys_->may_fetch(services_.time));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Begin());
  EXPECT_EQ(sender_->callbacks.size(), 1U);
  EXPECT_EQ(done_, 0);
  sender_->Answer(200, Set("a"));
  EXPECT_EQ(done_, 3);
  EXPECT_EQ(Ids(), "a");
}

TEST_F(RemoteKeysTest, FetchesAtMostOnceAMinute) {
  ASSERT_TRUE(Begin());
  EXPECT_TRUE(keys_->may_fetch(services_.time)) << "one that is under way can be waited for";
  sender_->Fail();
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(Ids(), "none");
  EXPECT_FALSE(keys_->may_fetch(services_.time));
  services_.time += seconds(59);
  EXPECT_FALSE(keys_->may_fetch(services_.time));
  services_.time += seconds(1);
  EXPECT_TRUE(keys_->may_fetch(services_.time));
}

TEST_F(RemoteKeysTest, OldKeysAreKeptUntilOthersHaveCome) {
  ASSERT_TRUE(Begin());
  sender_->Answer(200, Set("a"));
  const auto before = keys_->keys();
  services_.time += hours(2);
  EXPECT_TRUE(keys_->is_older_than(hours(2), services_.time));
  for (const auto& [status, body] : {std::pair(500, Set("b")), std::pair(200, std::string("{}"))}) {
    ASSERT_TRUE(Begin());
    sender_->Answer(status, body);
    EXPECT_EQ(keys_->keys(), before);
    EXPECT_TRUE(keys_->is_older_than(hours(2), services_.time)) << "asks for another fetch";
    services_.time += minutes(1);
  }
  ASSERT_TRUE(Begin());
  sender_->Answer(200, Set("c"));
  EXPECT_EQ(Ids(), "c");
  EXPECT_FALSE(keys_->is_older_than(hours(2), services_.time));
  EXPECT_EQ(before->keys().size(), 1U) << "who has them may go on";
}

TEST_F(RemoteKeysTest, NotEverybodyMayWait) {
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(Begin());
  EXPECT_FALSE(Begin());
  sender_->Answer(200, Set("a"));
  EXPECT_EQ(done_, 1000);
}

TEST_F(RemoteKeysTest, WithoutSomebodyWhoWaits) {
  EXPECT_TRUE(keys_->Begin({{}, sender_, services_}, nullptr));
  sender_->Answer(200, Set("a"));
  EXPECT_EQ(Ids(), "a");
}

TEST_F(RemoteKeysTest, AreFoundAgainByName) {
  const auto first = RemoteKeys::Of("x", services_.time);
  EXPECT_EQ(RemoteKeys::Of("x", services_.time), first);
  EXPECT_NE(RemoteKeys::Of("y", services_.time), first);
  for (int i = 0; i < 1000; ++i) {
    static_cast<void>(RemoteKeys::Of("old" + std::to_string(i), services_.time));
  }
  services_.time += hours(25);
  static_cast<void>(RemoteKeys::Of("new", services_.time));
  EXPECT_NE(RemoteKeys::Of("x", services_.time), first) << "nobody has asked for a day";
}

}  // namespace
}  // namespace sluice::plugins
