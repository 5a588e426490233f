#include "gateway/routing/path_pattern.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* pattern;
  const char* path;
  bool matches;
};

class PathPatternTest : public ::testing::TestWithParam<Case> {};

TEST_P(PathPatternTest, Matches) {
  Arena arena;
  const auto pattern = PathPattern::Make(GetParam().pattern, arena);
  ASSERT_TRUE(pattern) << pattern.error().detail;
  const std::string_view path = GetParam().path;
  const bool has_key = pattern->kind == PathPattern::Kind::kExact
                           ? path == pattern->key()
                           : path.substr(0, pattern->key_size) == pattern->key();
  EXPECT_EQ(has_key && pattern->Matches(path), GetParam().matches)
      << GetParam().pattern << " on " << path;
}

INSTANTIATE_TEST_SUITE_P(
    Literals, PathPatternTest,
    ::testing::Values(Case{"/", "/", true}, Case{"/a", "/a", true}, Case{"/a", "/a/", false},
                      Case{"/a:b", "/a:b", true}, Case{"/a:b", "/a:c", false},
                      Case{"/caf\xc3\xa9", "/caf%C3%A9", true}, Case{"/a b", "/a%20b", true},
                      Case{"/caf%c3%a9", "/caf%C3%A9", true}, Case{"/%7Ea", "/~a", true}));

INSTANTIATE_TEST_SUITE_P(
    Prefixes, PathPatternTest,
    ::testing::Values(Case{"*", "/a", true}, Case{"*", "*", true}, Case{"/*", "/", true},
                      Case{"/*", "/a/b", true}, Case{"/foo*", "/foo", true},
                      Case{"/foo*", "/foobar", true}, Case{"/foo*", "/fo", false},
                      Case{"/foo/*", "/foo/", true}, Case{"/foo/*", "/foo/a/b", true},
                      Case{"/foo/*", "/foo", false}, Case{"/foo/*rest", "/foo/a/b", true},
                      Case{"/foo/**", "/foo/a/b", true}, Case{"/.*", "/.well-known", true}));

INSTANTIATE_TEST_SUITE_P(
    Parameters, PathPatternTest,
    ::testing::Values(Case{"/a/:id", "/a/1", true}, Case{"/a/:id", "/a/", false},
                      Case{"/a/:id", "/a/1/", false}, Case{"/a/:id", "/a/1/2", false},
                      Case{"/:x/b", "/1/b", true}, Case{"/:x/b", "/1/c", false},
                      Case{"/:x/b", "/1/b/c", false}, Case{"/:x/b/", "/1/b/", true},
                      Case{"/:x/b/", "/1/b", false}, Case{"/a/:x/:y", "/a/1/2", true},
                      Case{"/a/:x/*", "/a/1/", true}, Case{"/a/:x/*", "/a/1", false},
                      Case{"/a/:x/*rest", "/a/1/2/3", true}, Case{"/a/:x/b*", "/a/1/bc/d", true},
                      Case{"/a/:x/b*", "/a/1/c", false}, Case{"/a/*/z", "/a/1/z", true},
                      Case{"/a/*/z", "/a/1/2/z", true}, Case{"/a/*/z", "/a/z", false},
                      Case{"/a/*/z", "/a/1/z/", false}, Case{"/a/*mid/:n/z", "/a/1/2/3/z", true},
                      Case{"/a/*mid/:n/z", "/a/3/z", false}, Case{"/a/:x/*/z", "/a/1/2/z", true},
                      Case{"/a/:x/*/z", "/a/1/z", false}));

std::string Refuse(std::string_view uri) {
  Arena arena;
  const auto pattern = PathPattern::Make(uri, arena);
  return pattern ? "accepted as " + std::string(pattern->text) : pattern.error().detail;
}

TEST(PathPatternTest, RefusesWhatCouldNeverMatch) {
  EXPECT_THAT(Refuse("/a//b"), HasSubstr("it could never match"));
  EXPECT_THAT(Refuse("/a//b"), HasSubstr("write \"/a/b\""));
  EXPECT_THAT(Refuse("/a/../b"), HasSubstr("write \"/b\""));
  EXPECT_THAT(Refuse("/a/./b/*"), HasSubstr("write \"/a/b/*\""));
  EXPECT_THAT(Refuse("/a/."), HasSubstr("could never match"));
  EXPECT_THAT(Refuse("/a/.."), HasSubstr("could never match"));
  EXPECT_THAT(Refuse("/a/%2e%2e/b"), HasSubstr("could never match"));
  for (const char* uri : {"/..", "/a%2Fb", "/a%2fb", "/a%00", "/a%5Cb", "/a\\b", "/a%", "/a%4*",
                          "/a\x01", "/a\x7f"}) {
    EXPECT_THAT(Refuse(uri), HasSubstr("expected a path as")) << uri;
  }
}

TEST(PathPatternTest, RefusesQueryAndFragmentWithTheReason) {
  EXPECT_THAT(Refuse("/a?b=1"), HasSubstr("compare it by vars"));
  EXPECT_THAT(Refuse("/a#b"), HasSubstr("never sent to a server"));
}

TEST(PathPatternTest, RefusesStarsThatMeanNothing) {
  EXPECT_THAT(Refuse("/a*b"), HasSubstr("must begin a segment or end the pattern"));
  EXPECT_THAT(Refuse("/a*/b"), HasSubstr("must begin a segment or end the pattern"));
  EXPECT_THAT(Refuse("/*/a/*"), HasSubstr("only one"));
  EXPECT_THAT(Refuse("/*/a*"), HasSubstr("only one"));
  EXPECT_THAT(Refuse("a/b"), HasSubstr("must begin with \"/\""));
  EXPECT_THAT(Refuse("*.html"), HasSubstr("must begin with \"/\""));
  EXPECT_THAT(Refuse(""), HasSubstr("empty"));
  EXPECT_THAT(Refuse("/" + std::string(5000, 'a')), HasSubstr("longer than 4096"));
}

}  // namespace
}  // namespace sluice
