#include "gateway/routing/hash_key.h"

#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/routing/test_request.h"

namespace sluice {
namespace {

using Source = conf::HashKeyConfig::Source;

Result<HashKey> Make(Source source, std::string key) {
  return HashKey::Make({.source = source, .key = std::move(key), .path = "key", .position = {}});
}

std::string KeyOf(Source source, std::string key, const TestRequest& request) {
  std::string scratch;
  return std::string(Make(source, std::move(key)).value().Of(request.view, scratch));
}

std::string RefusalOf(Source source, std::string key) {
  const auto made = Make(source, std::move(key));
  return made.has_value() ? "" : made.error().detail;
}

TEST(HashKeyTest, ReadsWhatItIsToldTo) {
  const TestRequest request("GET", "a.example", "/x?user=7",
                            {{"X-User", "alice"}, {"Cookie", "sid=abc; other=1"}}, "10.0.0.9");
  EXPECT_EQ(KeyOf(Source::kVariable, "remote_addr", request), "10.0.0.9");
  EXPECT_EQ(KeyOf(Source::kVariable, "uri", request), "/x");
  EXPECT_EQ(KeyOf(Source::kVariable, "arg_user", request), "7");
  EXPECT_EQ(KeyOf(Source::kHeader, "X-User", request), "alice");
  EXPECT_EQ(KeyOf(Source::kCookie, "sid", request), "abc");
  EXPECT_EQ(KeyOf(Source::kCombination, "$remote_addr$uri", request), "10.0.0.9/x");
  EXPECT_EQ(KeyOf(Source::kCombination, "u=${arg_user}, h=$host.", request), "u=7, h=a.example.");
}

TEST(HashKeyTest, IsEmptyWhenTheRequestHasNoneOfIt) {
  const TestRequest request("GET", "a.example", "/x");
  EXPECT_EQ(KeyOf(Source::kHeader, "X-User", request), "");
  EXPECT_EQ(KeyOf(Source::kCookie, "sid", request), "");
  EXPECT_EQ(KeyOf(Source::kCombination, "a $arg_a b $arg_b", request), "");
  EXPECT_EQ(KeyOf(Source::kCombination, "$arg_a-$uri", request), "-/x") << "one is enough";
}

TEST(HashKeyTest, RefusesWhatCannotBeAKey) {
  EXPECT_THAT(RefusalOf(Source::kVariable, "remote_adr"), testing::HasSubstr("remote_addr"));
  EXPECT_THAT(RefusalOf(Source::kVariable, "post_arg_x"), testing::HasSubstr("bodies"));
  EXPECT_THAT(RefusalOf(Source::kHeader, "X User"), testing::HasSubstr("got \"X User\""));
  EXPECT_THAT(RefusalOf(Source::kCookie, "a;b"), testing::HasSubstr("got \"a;b\""));
  EXPECT_THAT(RefusalOf(Source::kCombination, "no variable"), testing::HasSubstr("$variables"));
  EXPECT_THAT(RefusalOf(Source::kCombination, "$uri$"), testing::HasSubstr("name after"));
  EXPECT_THAT(RefusalOf(Source::kCombination, "${uri"), testing::HasSubstr("expected \"}\""));
  EXPECT_THAT(RefusalOf(Source::kCombination, "$nothing"), testing::HasSubstr("unknown variable"));
}

}  // namespace
}  // namespace sluice
