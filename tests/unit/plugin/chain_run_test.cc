#include "gateway/plugin/chain_run.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gateway/base/text.h"
#include "gateway/plugin/consumer.h"
#include "gateway/plugin/shared_limits.h"

namespace sluice {
namespace {

using Result = ChainRun::Result;

// A plugin that does what a test says, and notes that it was asked.
class Scripted final : public Plugin {
 public:
  using Hook = std::function<Verdict(RequestContext&)>;
  Scripted(std::vector<std::string>& log, std::string name, Hook hook)
      : log_(log), name_(std::move(name)), hook_(std::move(hook)) {}

  Verdict OnRewrite(RequestContext& request) const override { return Ask("rewrite", request); }
  Verdict OnAccess(RequestContext& request) const override { return Ask("access", request); }
  void OnLog(RequestContext&, const AccessRecord&) const override {
    log_.push_back(name_ + " log");
  }

 private:
  Verdict Ask(const char* phase, RequestContext& request) const {
    log_.push_back(name_ + " " + phase);
    return hook_ ? hook_(request) : Verdict::kContinue;
  }

  std::vector<std::string>& log_;
  const std::string name_;
  const Hook hook_;
};

constexpr uint8_t Bit(Phase phase) {
  return static_cast<uint8_t>(1U << static_cast<unsigned>(phase));
}

class ChainRunTest : public testing::Test, public ChainRun::Host, public PluginServices {
 protected:
  ChainRunTest() { view_.head = &head_; }

  // Adds a plugin that runs in `phase`.
  void Add(std::string name, Phase phase, Scripted::Hook hook = {}, FailureMode mode = {},
           bool shadow = false) {
    auto kind = std::make_unique<PluginKind>();
    kind->traits = {.name = "scripted", .summary = "", .on_failure = mode, .enforces = true};
    kind->phases = static_cast<uint8_t>(Bit(phase) | Bit(Phase::kLog));
    auto instance = std::make_unique<PluginInstance>();
    instance->kind = kind.get();
    instance->plugin = std::make_unique<Scripted>(log_, std::move(name), std::move(hook));
    instance->meta.shadow = shadow;
    plugins_.push_back({instance.get(), static_cast<uint32_t>(costs_.size()), 0});
    costs_.push_back(std::make_unique<PluginCost>());
    cells_.push_back(costs_.back().get());
    kinds_.push_back(std::move(kind));
    instances_.push_back(std::move(instance));
  }

  Result Run() {
    chain_ = MakeChain({}, plugins_, chain_arena_);
    run_.Begin(chain_, {view_, head_, arena_, *this, suspensions_, cells_});
    return run_.RunRequest();
  }
  // A hook that suspends and leaves its ticket here.
  Scripted::Hook Suspending() {
    return [this](RequestContext& request) {
      ticket_.emplace(request.Suspend(seconds(5)));
      return Verdict::kSuspend;
    };
  }
  const PluginCost& cost(size_t plugin) const { return *costs_[plugin]; }

  void OnChainResumed(Result result) override { resumed_.push_back(result); }
  void SetTimeLimit(MonoTime at) override { limit_ = at; }
  std::shared_ptr<SubRequestSender> sender() override { return nullptr; }
  MonoTime now() const override { return MonoTime(seconds(100)); }
  uint64_t Random() override { return 4; }
  uint32_t worker_index() const override { return 0; }
  SharedLimits& limits() override { return *limits_; }
  void RunOffLoop(std::function<void()> work, std::function<void()> done) override {
    work();
    done();
  }

  void After(Duration, std::function<void()> action) override { action(); }
  bool is_ending() const override { return false; }

  std::vector<std::string> log_;
  RequestHead head_;
  RequestView view_;
  Arena arena_, chain_arena_;
  SuspensionTable suspensions_;
  std::vector<std::unique_ptr<PluginKind>> kinds_;
  std::vector<std::unique_ptr<PluginInstance>> instances_;
  std::vector<std::unique_ptr<PluginCost>> costs_;
  std::vector<PluginCost*> cells_;
  std::vector<ChainPlugin> plugins_;
  Chain chain_;
  std::vector<Result> resumed_;
  MonoTime limit_ = MonoTime::max();
  std::optional<Ticket> ticket_;
  std::shared_ptr<SharedLimits> limits_;
  ChainRun run_{*this};
};

using Log = std::vector<std::string>;

TEST_F(ChainRunTest, RunsRewriteOfAllBeforeAccess) {
  Add("a", Phase::kAccess);
  Add("b", Phase::kRewrite);
  EXPECT_EQ(Run(), Result::kDone);
  EXPECT_EQ(log_, (Log{"b rewrite", "a access"}));
}

TEST_F(ChainRunTest, AReplyEndsTheChain) {
  Add("a", Phase::kAccess, [](RequestContext& r) { return r.ReplyMessage(403, "no"); });
  Add("b", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kReply);
  EXPECT_EQ(run_.reply().status, 403);
  EXPECT_EQ(run_.reply().body, "{\"message\":\"no\"}\n");
  EXPECT_EQ(log_, (Log{"a access"}));
  EXPECT_EQ(cost(0).replies.value(), 1U);
}

TEST_F(ChainRunTest, AShadowedReplyIsCountedOnly) {
  Add(
      "a", Phase::kAccess,
      [](RequestContext& r) {
        r.SetHeader("X-A", "b");
        return r.Reply(403);
      },
      FailureMode::kClosed, true);
  Add("b", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kDone);
  EXPECT_EQ(log_, (Log{"a access", "b access"}));
  EXPECT_EQ(cost(0).shadowed.value(), 1U);
  EXPECT_TRUE(head_.fields.empty());
}

TEST_F(ChainRunTest, AFailureIsClosedOrOpen) {
  const auto fail = [](RequestContext& r) { return r.Fail("broken"); };
  Add("a", Phase::kAccess, fail, FailureMode::kOpen);
  Add("b", Phase::kAccess, fail, FailureMode::kClosed);
  EXPECT_EQ(Run(), Result::kFailed);
  EXPECT_EQ(log_, (Log{"a access", "b access"}));
  EXPECT_EQ(run_.failure(), "broken");
  EXPECT_EQ(cost(0).failures.value(), 1U);
}

TEST_F(ChainRunTest, ATicketLetsTheChainGoOn) {
  Add("a", Phase::kRewrite, Suspending());
  Add("b", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kSuspended);
  EXPECT_EQ(limit_, MonoTime(seconds(105)));
  ASSERT_EQ(ticket_->request(), &run_.request());
  ticket_->Resume(Verdict::kContinue);
  EXPECT_EQ(resumed_, std::vector{Result::kDone});
  EXPECT_EQ(log_, (Log{"a rewrite", "b access"}));
  EXPECT_EQ(limit_, MonoTime::max());
  EXPECT_EQ(cost(0).suspensions.value(), 1U);
  EXPECT_EQ(ticket_->request(), nullptr);
  ticket_->Resume(Verdict::kContinue);  // for one use
  EXPECT_EQ(resumed_.size(), 1U);
}

TEST_F(ChainRunTest, ATicketCanCarryAReply) {
  Add("a", Phase::kRewrite, Suspending());
  EXPECT_EQ(Run(), Result::kSuspended);
  ticket_->Resume(ticket_->request()->Reply(401));
  EXPECT_EQ(resumed_, std::vector{Result::kReply});
  EXPECT_EQ(run_.reply().status, 401);
}

TEST_F(ChainRunTest, ADroppedTicketIsAFailure) {
  Add("a", Phase::kRewrite, Suspending());
  EXPECT_EQ(Run(), Result::kSuspended);
  ticket_.reset();
  EXPECT_EQ(resumed_, std::vector{Result::kFailed});
  EXPECT_EQ(run_.failed_plugin(), "scripted");
}

TEST_F(ChainRunTest, ALimitThatPassesIsAFailure) {
  Add("a", Phase::kRewrite, Suspending(), FailureMode::kOpen);
  Add("b", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kSuspended);
  run_.OnTimeLimit();
  EXPECT_EQ(resumed_, std::vector{Result::kDone});
  EXPECT_EQ(log_, (Log{"a rewrite", "b access"}));
  EXPECT_EQ(ticket_->request(), nullptr);
  ticket_->Resume(Verdict::kContinue);
  EXPECT_EQ(resumed_.size(), 1U);
}

TEST_F(ChainRunTest, ATicketOfADeadRequestDoesNothing) {
  Add("a", Phase::kRewrite, Suspending());
  EXPECT_EQ(Run(), Result::kSuspended);
  run_.End();
  EXPECT_EQ(limit_, MonoTime::max());
  EXPECT_EQ(ticket_->request(), nullptr);
  ticket_->Resume(Verdict::kContinue);
  ticket_.reset();
  run_.OnTimeLimit();
  EXPECT_TRUE(resumed_.empty());
}

TEST_F(ChainRunTest, AnOldTicketDoesNotResumeTheNextRequest) {
  Add("a", Phase::kRewrite, Suspending());
  EXPECT_EQ(Run(), Result::kSuspended);
  Ticket old = *std::move(ticket_);
  run_.End();
  EXPECT_EQ(Run(), Result::kSuspended);  // in the same slot
  old.Resume(Verdict::kContinue);
  EXPECT_TRUE(resumed_.empty());
  ticket_->Resume(Verdict::kContinue);
  EXPECT_EQ(resumed_, std::vector{Result::kDone});
}

TEST_F(ChainRunTest, AResumeInsideTheHookIsNoSuspension) {
  Add("a", Phase::kRewrite, [](RequestContext& request) {
    request.Suspend(seconds(1)).Resume(Verdict::kContinue);
    return Verdict::kSuspend;
  });
  Add("b", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kDone);
  EXPECT_EQ(log_, (Log{"a rewrite", "b access"}));
}

TEST_F(ChainRunTest, ASuspensionWithoutATicketIsAFailure) {
  Add("a", Phase::kRewrite, [](RequestContext&) { return Verdict::kSuspend; });
  EXPECT_EQ(Run(), Result::kFailed);
}

TEST_F(ChainRunTest, ADelayEndsWithItsVerdict) {
  Add("a", Phase::kRewrite, [](RequestContext& r) { return r.Delay(seconds(2), r.Reply(418)); });
  EXPECT_EQ(Run(), Result::kSuspended);
  EXPECT_EQ(limit_, MonoTime(seconds(102)));
  run_.OnTimeLimit();
  EXPECT_EQ(resumed_, std::vector{Result::kReply});
  EXPECT_EQ(run_.reply().status, 418);
}

TEST_F(ChainRunTest, StateIsOfThePluginAndDestroyedWithTheRequest) {
  const auto counted = std::make_shared<int>(0);
  struct Remembered {
    std::shared_ptr<int> held;
    int asked = 0;
  };
  const auto remember = [counted](RequestContext& request) {
    auto& state = request.State<Remembered>();
    state.held = counted;
    EXPECT_EQ(++state.asked, 1);
    return Verdict::kContinue;
  };
  Add("a", Phase::kRewrite, remember);
  Add("b", Phase::kRewrite, remember);
  EXPECT_EQ(Run(), Result::kDone);
  EXPECT_EQ(counted.use_count(), 6);  // here, in three copies of the hook, in two states
  run_.End();
  EXPECT_EQ(counted.use_count(), 4);
}

TEST_F(ChainRunTest, AConsumersPluginsJoinBehindRewrite) {
  PluginKind kind{.traits = {.name = "joined", .summary = ""}, .phases = Bit(Phase::kRewrite)};
  kind.phases |= Bit(Phase::kAccess);
  PluginInstance instance{
      .kind = &kind, .plugin = nullptr, .meta = {}, .owner = "", .position = {}};
  instance.plugin = std::make_unique<Scripted>(log_, "joined", Scripted::Hook());
  instance.meta.priority = 10;
  Consumer consumer;
  consumer.plugins = {{&instance, 0, 0}};
  Add("auth", Phase::kRewrite, [&consumer](RequestContext& request) {
    request.SetConsumer(consumer);
    return Verdict::kContinue;
  });
  Add("last", Phase::kAccess);
  EXPECT_EQ(Run(), Result::kDone);
  EXPECT_EQ(log_, (Log{"auth rewrite", "joined rewrite", "joined access", "last access"}));
}

TEST(CopyFieldValueTest, ControlCharactersBecomeSpaces) {
  Arena arena;
  EXPECT_EQ(CopyFieldValue("a\r\nX: b\x7f\tc", arena), "a  X: b \tc");
}

TEST(CopyFieldValueTest, EachByteAtEachPlace) {
  Arena arena;
  EXPECT_EQ(CopyFieldValue({}, arena), "");
  for (size_t size = 1; size <= 20; ++size) {
    for (size_t place = 0; place < size; ++place) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string value(size, 'a');
        value[place] = static_cast<char>(byte);
        const bool control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
        std::string wanted = value;
        if (control) wanted[place] = ' ';
        ASSERT_EQ(CopyFieldValue(value, arena), TrimOws(wanted)) << size << " " << byte;
      }
    }
    arena.Reset();
  }
}

}  // namespace
}  // namespace sluice
