#include "gateway/http/uri.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::string_view_literals::operator""sv;

struct PathCase {
  std::string_view path;
  std::string_view normal;  // "!" for refused
};

constexpr std::string_view kRefused = "!";

class NormalizePathTest : public testing::TestWithParam<PathCase> {};

TEST_P(NormalizePathTest, GivesTheNormalForm) {
  Arena arena;
  const Result<std::string_view> normal = NormalizePath(GetParam().path, arena);
  if (GetParam().normal == kRefused) {
    ASSERT_FALSE(normal.has_value()) << *normal;
    EXPECT_EQ(normal.error().code, ErrorCode::kBadPath);
    EXPECT_EQ(normal.error().side, ErrorSide::kClient);
  } else {
    ASSERT_TRUE(normal.has_value()) << normal.error().detail;
    EXPECT_EQ(*normal, GetParam().normal);
  }
}

INSTANTIATE_TEST_SUITE_P(Plain, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/", "/"},
                             {"*", "*"},
                             {"/a/b.c/~d-e_f", "/a/b.c/~d-e_f"},
                             {"/a;x=1/b:c@d!$&'()*+,=", "/a;x=1/b:c@d!$&'()*+,="},
                             {"/.well-known/x", "/.well-known/x"},
                             {"/a/...", "/a/..."},
                             {"/a/..b/.c", "/a/..b/.c"},
                             {"/a/b../c.", "/a/b../c."},
                             {"/a/", "/a/"},
                             {"", kRefused},
                             {"a", kRefused},
                             {"**", kRefused},
                             {"%2F", kRefused},
                         }));

// Numbered as in the catalogue of attacks.
INSTANTIATE_TEST_SUITE_P(Row59DotSegments, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/a/../admin", "/admin"},
                             {"/./admin", "/admin"},
                             {"/a/%2e%2e/admin", "/admin"},
                             {"/a/.%2E/admin", "/admin"},
                             {"/%2e/admin", "/admin"},
                             {"/a/b/../../c", "/c"},
                             {"/a/b/..", "/a/"},
                             {"/a/..", "/"},
                             {"/a/.", "/a/"},
                             {"/.", "/"},
                             {"/a/./././b/.", "/a/b/"},
                             {"/a//../b", "/b"},
                             {"/../admin", kRefused},
                             {"/..", kRefused},
                             {"/a/../..", kRefused},
                             {"/a/../../admin", kRefused},
                             {"/%2e%2e/admin", kRefused},
                         }));
INSTANTIATE_TEST_SUITE_P(Row60Slashes, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"//admin", "/admin"},
                             {"///admin//x", "/admin/x"},
                             {"/a//", "/a/"},
                             {"//", "/"},
                         }));
INSTANTIATE_TEST_SUITE_P(Row61Escapes, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/%61dmin", "/admin"},
                             {"/%7euser/%2D", "/~user/-"},
                             {"/a%20b", "/a%20b"},
                             {"/a%3ab%c3%a4", "/a%3Ab%C3%A4"},
                             {"/%3f%23%5b", "/%3F%23%5B"},
                             {"/\xc3\xa4", "/%C3%A4"},
                             {"/a{b}|\"<>^`[]", "/a%7Bb%7D%7C%22%3C%3E%5E%60%5B%5D"},
                             {"/%0a%7F", "/%0A%7F"},
                         }));
INSTANTIATE_TEST_SUITE_P(Row62EscapedSlashes, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/a%2f..%2fadmin", kRefused},
                             {"/%2Fadmin", kRefused},
                             {"/a%5cb", kRefused},
                             {"/a%5Cb", kRefused},
                             {"/a\\b", kRefused},
                             {"/..\\admin", kRefused},
                         }));
INSTANTIATE_TEST_SUITE_P(Row63PathParameters, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/a/..;/admin", kRefused},
                             {"/a/..;foo=bar/admin", kRefused},
                             {"/.;/admin", kRefused},
                             {"/a/%2e%2e;x/admin", kRefused},
                             {"/a/..%3b/admin", kRefused},
                             {"/a/..%3Bx/admin", kRefused},
                             {"/;/admin", "/;/admin"},
                             {"/;x=y/admin", "/;x=y/admin"},
                             {"/a;../b", "/a;../b"},
                         }));
INSTANTIATE_TEST_SUITE_P(Row64BrokenEscapes, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/admin%00", kRefused},
                             {"/%zz", kRefused},
                             {"/%", kRefused},
                             {"/%4", kRefused},
                             {"/%4/x", kRefused},
                             {"/%u0061", kRefused},
                             {"/a\0b"sv, kRefused},
                             {"/a\tb", kRefused},
                             {"/a b", kRefused},
                             {"/a\x7f", kRefused},
                         }));
INSTANTIATE_TEST_SUITE_P(Row65DoubleEscapes, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/%252e%252e/admin", "/%252e%252e/admin"},
                             {"/%252E%252f", "/%252E%252f"},
                             {"/%c0%ae/x", "/%C0%AE/x"},
                         }));
INSTANTIATE_TEST_SUITE_P(Row66Fragments, NormalizePathTest,
                         testing::ValuesIn(std::initializer_list<PathCase>{
                             {"/admin#f", kRefused},
                             {"/x#/../admin", kRefused},
                             {"/x?y", kRefused},
                         }));

TEST(UriTest, ReturnsANormalPathWithoutACopy) {
  Arena arena;
  for (const std::string_view path :
       {"/"sv, "/a/b?"sv.substr(0, 4), "/a%20b/%C3%A4"sv, "/.well-known/..a/..."sv, "*"sv}) {
    const Result<std::string_view> normal = NormalizePath(path, arena);
    ASSERT_TRUE(normal.has_value());
    EXPECT_EQ(normal->data(), path.data());
  }
}

TEST(UriTest, SecondNormalisationChangesNothing) {
  std::mt19937 random(20240607);
  constexpr std::string_view kPieces[] = {"/",   ".",   "..",  ";",   "%",    "%2e", "%2E", "%2f",
                                          "%5c", "%25", "a",   "b",   "//",   "%61", "%3b", "\xc3",
                                          "{",   "2e",  "%7f", "/./", "/../", "%c3", "~",   "*"};
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string path = "/";
    for (size_t pieces = random() % 10; pieces > 0; --pieces) {
      path += kPieces[random() % std::size(kPieces)];
    }
    Arena arena;
    const Result<std::string_view> once = NormalizePath(path, arena);
    if (!once) continue;
    ++accepted;
    const Result<std::string_view> twice = NormalizePath(*once, arena);
    ASSERT_TRUE(twice.has_value()) << path << " -> " << *once;
    ASSERT_EQ(*twice, *once) << path;
    const std::string bounded = std::string(*once) + "/";
    for (const char* never :
         {"//", "/./", "/../", "%2F", "%2f", "%5C", "%00", "%2E", "%61", "\\"}) {
      if (never == "//"sv && once->ends_with('/')) continue;  // the slash that was just added
      ASSERT_EQ(bounded.find(never), std::string::npos) << path << " -> " << *once;
    }
    ASSERT_EQ(once->find("//"), std::string::npos) << path;
  }
  EXPECT_GT(accepted, 1000) << "the generator must reach valid paths";
}

TEST(UriTest, FindsQueryArguments) {
  constexpr std::string_view kQuery = "a=1&b=&c&a=2&=x&&%64e=f%20g&x+y=z&d=e=f";
  EXPECT_EQ(FindQueryArgument(kQuery, "a"), "1");
  EXPECT_EQ(FindQueryArgument(kQuery, "b"), "");
  EXPECT_NE(FindQueryArgument(kQuery, "b").data(), nullptr);
  EXPECT_EQ(FindQueryArgument(kQuery, "c"), "");
  EXPECT_NE(FindQueryArgument(kQuery, "c").data(), nullptr);
  EXPECT_EQ(FindQueryArgument(kQuery, "de"), "f%20g");
  EXPECT_EQ(FindQueryArgument(kQuery, "x y"), "z");
  EXPECT_EQ(FindQueryArgument(kQuery, "d"), "e=f");
  EXPECT_EQ(FindQueryArgument(kQuery, "A").data(), nullptr);
  EXPECT_EQ(FindQueryArgument(kQuery, "").data(), nullptr);
  EXPECT_EQ(FindQueryArgument("", "a").data(), nullptr);
  EXPECT_EQ(FindQueryArgument("ab=1", "a").data(), nullptr);
}

TEST(UriTest, ReplacesQueryArguments) {
  constexpr std::string_view kQuery = "a=1&b=&c&a=2&=x&&%61=e%20&a&x=a";
  EXPECT_EQ(ReplaceQueryArguments(kQuery, "a", "***"), "a=***&b=&c&a=***&=x&&%61=***&a=***&x=a");
  EXPECT_EQ(ReplaceQueryArguments(kQuery, "a", std::nullopt), "b=&c&=x&&x=a");
  EXPECT_EQ(ReplaceQueryArguments(kQuery, "z", std::nullopt), kQuery);
  EXPECT_EQ(ReplaceQueryArguments("a=1", "a", std::nullopt), "");
  EXPECT_EQ(ReplaceQueryArguments("", "a", "x"), "");
  EXPECT_EQ(ReplaceQueryArguments("b=2&a=1", "a", std::nullopt), "b=2");
  EXPECT_EQ(ReplaceQueryArguments("a=1&b=2", "a", ""), "a=&b=2");
}

TEST(UriTest, FindsCookies) {
  constexpr std::string_view kCookies = "a=1; b=; c ;d=\"x y\" ;ab=2; a=3";
  EXPECT_EQ(FindCookie(kCookies, "a"), "1");
  EXPECT_EQ(FindCookie(kCookies, "b"), "");
  EXPECT_NE(FindCookie(kCookies, "b").data(), nullptr);
  EXPECT_EQ(FindCookie(kCookies, "c").data(), nullptr);
  EXPECT_EQ(FindCookie(kCookies, "d"), "\"x y\"");
  EXPECT_EQ(FindCookie(kCookies, "ab"), "2");
  EXPECT_EQ(FindCookie(kCookies, "A").data(), nullptr);
  EXPECT_EQ(FindCookie("", "a").data(), nullptr);
}

TEST(UriTest, ReplacesCookies) {
  constexpr std::string_view kCookies = "a=1; b=;c ; ;d=\"x y\" ;ab=2; a = 3";
  EXPECT_EQ(ReplaceCookies(kCookies, "a", "***"), "a=***; b=; c; d=\"x y\"; ab=2; a=***");
  EXPECT_EQ(ReplaceCookies(kCookies, "a", std::nullopt), "b=; c; d=\"x y\"; ab=2");
  EXPECT_EQ(ReplaceCookies("a=1", "a", std::nullopt), "");
  EXPECT_EQ(ReplaceCookies("a=1", "A", "x"), "a=1");
  EXPECT_EQ(ReplaceCookies("", "a", "x"), "");
}

TEST(UriTest, DecodesQueryComponents) {
  EXPECT_EQ(DecodeQueryComponent("a+b%20c%2Fd"), "a b c/d");
  EXPECT_EQ(DecodeQueryComponent("100%"), "100%");
  EXPECT_EQ(DecodeQueryComponent("%zz%4"), "%zz%4");
  EXPECT_EQ(DecodeQueryComponent("%2541"), "%41");
  EXPECT_EQ(DecodeQueryComponent(""), "");
}

TEST(UriTest, NormalizesHosts) {
  Arena arena;
  EXPECT_EQ(NormalizeHost("Example.COM:8080", arena), "example.com");
  EXPECT_EQ(NormalizeHost("a.test.", arena), "a.test");
  EXPECT_EQ(NormalizeHost("a.test.:80", arena), "a.test");
  EXPECT_EQ(NormalizeHost("a:", arena), "a");
  EXPECT_EQ(NormalizeHost("[2001:DB8::1]:80", arena), "[2001:db8::1]");
  EXPECT_EQ(NormalizeHost("[::1]", arena), "[::1]");
  EXPECT_EQ(NormalizeHost("", arena), "");
  constexpr std::string_view kLower = "a.test:80";
  EXPECT_EQ(NormalizeHost(kLower, arena).data(), kLower.data());
}

}  // namespace
}  // namespace sluice
