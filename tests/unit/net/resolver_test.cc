#include "gateway/net/resolver.h"

#include <cctype>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/net/resolved_name.h"
#include "tests/unit/net/dns_stub.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Texts(const std::vector<IpAddress>& addresses) {
  std::vector<std::string> out;
  for (const IpAddress& address : addresses) out.push_back(address.ToString());
  return out;
}

class ResolverTest : public testing::Test {
 protected:
  ResolverTest()
      : loop_(*Loop::Make()), stub_(std::make_unique<DnsStub>(*loop_, [](const DnsQuery& query) {
          return DnsAnswer(query).Address("192.0.2.1", 60).Bytes();
        })) {
    MakeResolver({});
  }

  void MakeResolver(ResolverOptions options) {
    options.servers = stub_->address();
    if (options.timeout == ResolverOptions().timeout) options.timeout = milliseconds(500);
    resolver_ = *Resolver::Make(*loop_, options);
  }

  Result<Resolver::Answer> Resolve(std::string_view name) {
    std::optional<Result<Resolver::Answer>> out;
    resolver_->Resolve(name, [&](Result<Resolver::Answer> answer) {
      EXPECT_FALSE(out.has_value()) << "called twice";
      out = std::move(answer);
      loop_->Stop();
    });
    EXPECT_FALSE(out.has_value()) << "called from inside Resolve";
    loop_->Run();
    return *std::move(out);
  }

  std::string ErrorOf(std::string_view name) {
    const auto answer = Resolve(name);
    return answer ? "no error" : answer.error().detail;
  }

  // Runs the loop until the condition holds; ctest's time limit is the only clock.
  template <typename Condition>
  void RunUntil(const Condition& condition) {
    Timer poll(*loop_);
    poll.StartRepeating(milliseconds(1), [&] {
      if (condition()) loop_->Stop();
    });
    loop_->Run();
  }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<DnsStub> stub_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, AsksForBothFamilies) {
  stub_->SetAnswer([](const DnsQuery& query) {
    return DnsAnswer(query).Address("192.0.2.1", 60).Address("2001:db8::1", 30).Bytes();
  });
  const auto answer = Resolve("Api.Example");
  ASSERT_TRUE(answer.has_value()) << answer.error().detail;
  EXPECT_THAT(Texts(answer->addresses), ElementsAre("192.0.2.1", "2001:db8::1"));
  EXPECT_EQ(answer->ttl, seconds(30));
  EXPECT_EQ(stub_->queries().size(), 2U);
}

TEST_F(ResolverTest, OneFamilyIsEnough) {
  stub_->SetAnswer([](const DnsQuery& query) {
    if (query.type == DnsQuery::kA) return DnsAnswer(query).Code(DnsAnswer::kServfail).Bytes();
    return DnsAnswer(query).Address("2001:db8::1", 30).Bytes();
  });
  const auto answer = Resolve("a.example");
  ASSERT_TRUE(answer.has_value()) << answer.error().detail;
  EXPECT_THAT(Texts(answer->addresses), ElementsAre("2001:db8::1"));
}

TEST_F(ResolverTest, SortsAndRemovesDoubles) {
  stub_->SetAnswer([](const DnsQuery& query) {
    return DnsAnswer(query)
        .Address("192.0.2.9", 60)
        .Address("2001:db8::2", 60)
        .Address("192.0.2.1", 60)
        .Address("192.0.2.9", 60)
        .Bytes();
  });
  EXPECT_THAT(Texts(Resolve("a.example")->addresses),
              ElementsAre("192.0.2.1", "192.0.2.9", "2001:db8::2"));
}

TEST_F(ResolverTest, TtlIsKeptInItsRange) {
  uint32_t ttl = 0;
  stub_->SetAnswer(
      [&](const DnsQuery& query) { return DnsAnswer(query).Address("192.0.2.1", ttl).Bytes(); });
  EXPECT_EQ(Resolve("a.example")->ttl, seconds(1));
  ttl = 86400;
  EXPECT_EQ(Resolve("b.example")->ttl, hours(1));
  ttl = 0x7fffffff;
  EXPECT_EQ(Resolve("c.example")->ttl, hours(1));
  ttl = 0xffffffff;  // RFC 2181 8: read as 0
  EXPECT_EQ(Resolve("d.example")->ttl, seconds(1));
}

// 1,612 bytes: more than a datagram may have, so they come by TCP.
TEST_F(ResolverTest, ManyAddressesComeByTcpAndAreCapped) {
  stub_->SetAnswer([](const DnsQuery& query) { return DnsAnswer(query).Truncated().Bytes(); });
  stub_->ServeTcp([](const DnsQuery& query) {
    DnsAnswer answer(query);
    for (int i = 0; i < 100; ++i) answer.Address("192.0.2." + std::to_string(i), 60);
    return answer.Bytes();
  });
  const auto answer = Resolve("a.example");
  ASSERT_TRUE(answer.has_value()) << answer.error().detail;
  EXPECT_EQ(answer->addresses.size(), Resolver::kMaxAddresses);
  EXPECT_EQ(answer->addresses.front().ToString(), "192.0.2.0");
}

TEST_F(ResolverTest, ReportsWhyANameDoesNotResolve) {
  stub_->SetAnswer(
      [](const DnsQuery& query) { return DnsAnswer(query).Code(DnsAnswer::kNxdomain).Bytes(); });
  EXPECT_EQ(ErrorOf("gone.example"), "resolve gone.example: Domain name not found");
  stub_->SetAnswer([](const DnsQuery& query) { return DnsAnswer(query).Bytes(); });
  EXPECT_THAT(ErrorOf("empty.example"), HasSubstr("no data"));
  stub_->SetAnswer(
      [](const DnsQuery& query) { return DnsAnswer(query).Code(DnsAnswer::kServfail).Bytes(); });
  EXPECT_THAT(ErrorOf("broken.example"), HasSubstr("resolve broken.example: "));
}

TEST_F(ResolverTest, SilentServerTimesOut) {
  MakeResolver({.timeout = milliseconds(20), .tries = 2});
  stub_->SetAnswer([](const DnsQuery&) { return std::string(); });
  EXPECT_THAT(ErrorOf("a.example"), HasSubstr("Timeout"));
  EXPECT_EQ(stub_->queries().size(), 4U) << "two families, two tries";
}

TEST_F(ResolverTest, LostAnswerIsAskedForAgain) {
  MakeResolver({.timeout = milliseconds(20), .tries = 3});
  stub_->SetAnswer([&](const DnsQuery& query) {
    if (stub_->queries().size() <= 2) return std::string();
    return DnsAnswer(query).Address("192.0.2.1", 60).Bytes();
  });
  EXPECT_TRUE(Resolve("a.example").has_value());
}

TEST_F(ResolverTest, DeadServerIsAnError) {
  MakeResolver({.timeout = milliseconds(20), .tries = 1});
  stub_.reset();  // its port answers with ICMP now
  EXPECT_THAT(ErrorOf("a.example"), HasSubstr("resolve a.example: "));
}

TEST_F(ResolverTest, GarbageIsNotAnAnswer) {
  MakeResolver({.timeout = milliseconds(20), .tries = 1});
  const std::vector<std::function<std::string(const DnsQuery&)>> answers = {
      [](const DnsQuery&) { return std::string("x"); },
      [](const DnsQuery& query) { return query.id; },
      [](const DnsQuery& query) { return query.id + std::string(10, '\xff'); },
      [](const DnsQuery& query) { return query.id + std::string(500, '\xc0'); },
      [](const DnsQuery& query) {  // cut in the middle of the address
        const std::string whole = DnsAnswer(query).Address("192.0.2.1", 60).Bytes();
        return whole.substr(0, whole.size() - 2);
      },
      [](const DnsQuery& query) {  // says it has a record and has none
        std::string bytes = DnsAnswer(query).Bytes();
        bytes[7] = 1;
        return bytes;
      },
      [](const DnsQuery& query) {  // another query's id: forged
        DnsQuery other = query;
        other.id[0] = static_cast<char>(other.id[0] ^ 1);
        return DnsAnswer(other).Address("192.0.2.66", 60).Bytes();
      },
      [](const DnsQuery& query) {  // the alias leads back to the name, and so on
        return DnsAnswer(query).Alias(60).Alias(60).Alias(60).Bytes();
      },
  };
  for (size_t i = 0; i < answers.size(); ++i) {
    stub_->SetAnswer(answers[i]);
    EXPECT_THAT(ErrorOf("a.example"), HasSubstr("resolve a.example: ")) << "answer " << i;
  }
  stub_->SetAnswer(
      [](const DnsQuery& query) { return DnsAnswer(query).Address("192.0.2.1", 60).Bytes(); });
  EXPECT_TRUE(Resolve("a.example").has_value()) << "still works";
}

TEST_F(ResolverTest, TruncatedAnswerIsNotUsed) {
  MakeResolver({.timeout = milliseconds(20), .tries = 1});
  stub_->SetAnswer([](const DnsQuery& query) {
    return DnsAnswer(query).Truncated().Address("192.0.2.1", 60).Bytes();
  });
  // The rest is fetched by TCP, where nobody listens.
  EXPECT_THAT(ErrorOf("a.example"), HasSubstr("resolve a.example: "));
}

TEST_F(ResolverTest, AliasShortensTheTtl) {
  stub_->SetAnswer([](const DnsQuery& query) {
    return DnsAnswer(query).Alias(7).Address("192.0.2.1", 60).Bytes();
  });
  const auto answer = Resolve("a.example");
  ASSERT_TRUE(answer.has_value()) << answer.error().detail;
  EXPECT_EQ(answer->ttl, seconds(7));
}

TEST_F(ResolverTest, LookupsOfOneNameAreJoined) {
  int called = 0;
  for (int i = 0; i < 5; ++i) {
    resolver_->Resolve(i % 2 == 0 ? "a.example" : "A.EXAMPLE",
                       [&](Result<Resolver::Answer> answer) {
                         EXPECT_TRUE(answer.has_value());
                         if (++called == 5) loop_->Stop();
                       });
  }
  loop_->Run();
  EXPECT_EQ(called, 5);
  EXPECT_EQ(stub_->queries().size(), 2U);
}

TEST_F(ResolverTest, LocalhostIsNeverAsked) {
  for (const char* name : {"localhost", "LocalHost.", "x.localhost"}) {
    const auto answer = Resolve(name);
    ASSERT_TRUE(answer.has_value()) << answer.error().detail;
    EXPECT_EQ(answer->addresses.front().ToString(), "127.0.0.1") << name;
  }
  EXPECT_THAT(stub_->queries(), IsEmpty());
}

// The first name in /etc/hosts that is not a localhost, with its address.
std::optional<std::pair<std::string, std::string>> HostsEntry() {
  std::ifstream hosts("/etc/hosts");
  for (std::string line; std::getline(hosts, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string address;
    std::string name;
    if (!(words >> address >> name) || name.find("localhost") != std::string::npos) continue;
    const auto ip = IpAddress::Parse(address);
    if (ip && ip->is_v4()) return std::pair(name, address);
  }
  return std::nullopt;
}

TEST_F(ResolverTest, HostsFileComesFirst) {
  const auto entry = HostsEntry();
  if (!entry) GTEST_SKIP() << "/etc/hosts has only localhost";
  const auto answer = Resolve(entry->first);
  ASSERT_TRUE(answer.has_value()) << answer.error().detail;
  EXPECT_THAT(Texts(answer->addresses), testing::Contains(entry->second));
  EXPECT_THAT(stub_->queries(), IsEmpty());
}

TEST_F(ResolverTest, NamesThatCannotExistAreErrors) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("resolve : "));
  EXPECT_THAT(ErrorOf(std::string(64, 'a') + ".example"), HasSubstr("resolve aaa"));
  EXPECT_THAT(ErrorOf(std::string(300, 'a')), HasSubstr("resolve aaa"));
  EXPECT_THAT(ErrorOf("a..example"), HasSubstr("resolve a..example"));
}

TEST_F(ResolverTest, CancelledCallbackIsNotCalled) {
  const uint64_t id = resolver_->Resolve("a.example", [](const auto&) { FAIL(); });
  const uint64_t due = resolver_->Resolve("localhost", [](const auto&) { FAIL(); });
  resolver_->Cancel(id);
  resolver_->Cancel(due);
  resolver_->Cancel(12345);
  EXPECT_TRUE(Resolve("b.example").has_value());
  RunUntil([&] { return stub_->queries().size() == 4; });
}

TEST_F(ResolverTest, DestroyingItCancelsEverything) {
  resolver_->Resolve("a.example", [](const auto&) { FAIL(); });
  resolver_->Resolve("localhost", [](const auto&) { FAIL(); });
  resolver_.reset();
  int turns = 0;
  RunUntil([&] { return ++turns == 20; });
}

TEST_F(ResolverTest, CallbackMayDestroyIt) {
  for (const char* name : {"a.example", "localhost"}) {
    MakeResolver({});
    resolver_->Resolve(name, [&](const auto&) {
      resolver_.reset();
      loop_->Stop();
    });
    resolver_->Resolve(name, [](const auto&) { FAIL() << "the resolver is gone"; });
    loop_->Run();
    EXPECT_EQ(resolver_, nullptr);
  }
}

TEST_F(ResolverTest, CallbackMayResolveAgain) {
  int answers = 0;
  std::function<void(Result<Resolver::Answer>)> again = [&](const auto&) {
    if (++answers == 3) return loop_->Stop();
    resolver_->Resolve("a.example", again);
  };
  resolver_->Resolve("a.example", again);
  loop_->Run();
  EXPECT_EQ(answers, 3);
}

TEST_F(ResolverTest, RefusesServersItCannotRead) {
  const auto resolver = Resolver::Make(*loop_, {.servers = "not an address"});
  ASSERT_FALSE(resolver.has_value());
  EXPECT_THAT(resolver.error().detail, HasSubstr("got \"not an address\""));
}

class ResolvedNameTest : public ResolverTest {
 protected:
  ResolvedNameTest() { MakeResolver({.min_ttl = milliseconds(100)}); }

  std::unique_ptr<ResolvedName> Watch() {
    return std::make_unique<ResolvedName>(
        *loop_, *resolver_, "a.example", [this] { ++changes_; },
        ResolvedName::Backoff{milliseconds(100), milliseconds(400)});
  }

  int changes_ = 0;
};

TEST_F(ResolvedNameTest, LearnsAndFollowsChanges) {
  std::string address = "192.0.2.1";
  stub_->SetAnswer(
      [&](const DnsQuery& query) { return DnsAnswer(query).Address(address, 0).Bytes(); });
  const auto name = Watch();
  EXPECT_THAT(name->addresses(), IsEmpty());
  EXPECT_FALSE(name->error().has_value());
  RunUntil([&] { return changes_ == 1; });
  EXPECT_THAT(Texts(name->addresses()), ElementsAre("192.0.2.1"));
  address = "192.0.2.2";
  RunUntil([&] { return changes_ == 2; });
  EXPECT_THAT(Texts(name->addresses()), ElementsAre("192.0.2.2"));
}

TEST_F(ResolvedNameTest, SameAddressesInAnotherOrderAreNoChange) {
  bool swapped = false;
  stub_->SetAnswer([&](const DnsQuery& query) {
    if (query.type == DnsQuery::kA) swapped = !swapped;
    return DnsAnswer(query)
        .Address(swapped ? "192.0.2.1" : "192.0.2.2", 0)
        .Address(swapped ? "192.0.2.2" : "192.0.2.1", 0)
        .Bytes();
  });
  const auto name = Watch();
  RunUntil([&] { return stub_->queries().size() >= 8; });
  EXPECT_EQ(changes_, 1);
}

TEST_F(ResolvedNameTest, KeepsTheLastGoodOnesWhenTheNameIsGone) {
  bool gone = false;
  stub_->SetAnswer([&](const DnsQuery& query) {
    if (gone) return DnsAnswer(query).Code(DnsAnswer::kNxdomain).Bytes();
    return DnsAnswer(query).Address("192.0.2.1", 0).Bytes();
  });
  const auto name = Watch();
  RunUntil([&] { return changes_ == 1; });
  gone = true;
  RunUntil([&] { return changes_ == 2; });
  ASSERT_TRUE(name->error().has_value());
  EXPECT_THAT(name->error()->detail, HasSubstr("not found"));
  EXPECT_THAT(Texts(name->addresses()), ElementsAre("192.0.2.1"));
  const size_t asked = stub_->queries().size();
  RunUntil([&] { return stub_->queries().size() > asked; });
  EXPECT_EQ(changes_, 2) << "still the same error";
  gone = false;
  RunUntil([&] { return changes_ == 3; });
  EXPECT_FALSE(name->error().has_value());
}

TEST_F(ResolvedNameTest, FirstFailureIsReportedAndRetried) {
  stub_->SetAnswer(
      [](const DnsQuery& query) { return DnsAnswer(query).Code(DnsAnswer::kNxdomain).Bytes(); });
  const auto name = Watch();
  RunUntil([&] { return changes_ == 1; });
  EXPECT_TRUE(name->error().has_value());
  EXPECT_THAT(name->addresses(), IsEmpty());
  stub_->SetAnswer(
      [](const DnsQuery& query) { return DnsAnswer(query).Address("192.0.2.1", 0).Bytes(); });
  RunUntil([&] { return changes_ == 2; });
  EXPECT_THAT(Texts(name->addresses()), ElementsAre("192.0.2.1"));
}

TEST_F(ResolvedNameTest, DestroyedWhileAskingIsForgotten) {
  Watch().reset();
  EXPECT_TRUE(Resolve("b.example").has_value());
  EXPECT_EQ(changes_, 0);
}

TEST_F(ResolvedNameTest, MayBeDestroyedInItsCallback) {
  std::unique_ptr<ResolvedName> name;
  name = std::make_unique<ResolvedName>(*loop_, *resolver_, "a.example", [&] {
    name.reset();
    loop_->Stop();
  });
  loop_->Run();
  EXPECT_EQ(name, nullptr);
}

}  // namespace
}  // namespace sluice
