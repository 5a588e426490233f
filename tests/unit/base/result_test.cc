// Result, its macros, Error and the clocks.
#include "gateway/base/result.h"

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/base/time.h"

namespace sluice {
namespace {

using testing::MatchesRegex;

Status FailWhen(bool fail) {
  if (fail) return ClientError(ErrorCode::kBadHost, "expected a host, got nothing");
  return {};
}

Result<std::unique_ptr<int>> MakeNumber(bool fail) {
  SLUICE_TRY(FailWhen(fail));
  return std::make_unique<int>(7);
}

Result<int> Twice(bool fail_first, bool fail_second) {
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, MakeNumber(fail_first));
  SLUICE_ASSIGN_OR_RETURN(auto second, MakeNumber(fail_second));
  return *first + *second;
}

TEST(ResultTest, MacrosPassValuesOn) { EXPECT_EQ(Twice(false, false).value(), 14); }

TEST(ResultTest, MacrosReturnTheFirstError) {
  for (const auto& result : {Twice(true, false), Twice(false, true)}) {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::kBadHost);
    EXPECT_EQ(result.error().side, ErrorSide::kClient);
    EXPECT_EQ(result.error().detail, "expected a host, got nothing");
  }
}

TEST(ResultTest, TryEvaluatesOnce) {
  int calls = 0;
  const auto count = [&]() -> Status {
    ++calls;
    return {};
  };
  const auto run = [&]() -> Status {
    SLUICE_TRY(count());
    return {};
  };
  EXPECT_TRUE(run().has_value());
  EXPECT_EQ(calls, 1);
}

TEST(ResultDeathTest, BrokenInvariantSaysWhere) {
  EXPECT_DEATH(SLUICE_CHECK(1 + 1 == 3), "result_test.cc:[0-9]+: 1 \\+ 1 == 3");
}

TEST(ErrorTest, EveryCodeHasItsOwnReason) {
  std::set<std::string_view> names;
  for (int code = 0; code < static_cast<int>(ErrorCode::kCount); ++code) {
    const std::string_view name = ReasonName(static_cast<ErrorCode>(code));
    EXPECT_THAT(std::string(name), MatchesRegex("[a-z_]+"));
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(ReasonName(ErrorCode::kNone), "ok");
  EXPECT_EQ(ReasonName(ErrorCode::kNoRoute), "no_route");
  EXPECT_EQ(ReasonName(ErrorCode::kResponseTruncated), "response_truncated");
  EXPECT_EQ(ReasonName(ErrorCode::kIo), "io");
}

TEST(ErrorTest, ConstructorsSayWhoseFaultItIs) {
  EXPECT_EQ(GatewayError(ErrorCode::kInternal, "").side, ErrorSide::kGateway);
  const Error upstream = UpstreamError(ErrorCode::kConnectRefused, Retry::kSafe, "x");
  EXPECT_EQ(upstream.side, ErrorSide::kUpstream);
  EXPECT_EQ(upstream.retry, Retry::kSafe);
  EXPECT_EQ(SystemError("bind 1.2.3.4:80", EACCES).detail, "bind 1.2.3.4:80: Permission denied");
}

TEST(TimeTest, FormatsIso8601) {
  EXPECT_EQ(FormatIso8601(WallTime()), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatIso8601(WallTime(seconds(1795266268) + microseconds(123999))),
            "2026-11-21T13:04:28.123Z");
  EXPECT_EQ(FormatIso8601(WallTime(seconds(951782400))), "2000-02-29T00:00:00.000Z");
}

}  // namespace
}  // namespace sluice
