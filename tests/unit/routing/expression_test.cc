#include "gateway/routing/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/routing/regex.h"
#include "tests/unit/routing/test_request.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

conf::Node Parse(std::string_view json) {
  conf::Diagnostics diagnostics;
  const uint32_t file = diagnostics.AddSource("test.json", std::string(json));
  conf::Node node = conf::ParseJson(json, file, diagnostics);
  EXPECT_TRUE(diagnostics.empty()) << diagnostics.ToText();
  return node;
}

// Does the expression match a request with this target and these header fields?
bool Eval(std::string_view json, const RequestView& request, std::string* failed = nullptr) {
  const conf::Node node = Parse(json);
  conf::Diagnostics diagnostics;
  const auto expression = Expression::Make(node, "vars", diagnostics);
  EXPECT_NE(expression, nullptr) << json << "\n" << diagnostics.ToText();
  return expression != nullptr && expression->Matches(request, failed);
}

bool Eval(std::string_view json, std::string_view target) {
  TestRequest request("GET", "a.example", target);
  return Eval(json, request.view);
}

std::string Failed(std::string_view json, std::string_view target) {
  TestRequest request("GET", "a.example", target);
  std::string failed;
  EXPECT_FALSE(Eval(json, request.view, &failed));
  return failed;
}

struct Refusal {
  std::string message;
  std::string hint;
  std::string path;
  uint32_t column;
};

Refusal Refuse(std::string_view json) {
  const conf::Node node = Parse(json);
  conf::Diagnostics diagnostics;
  EXPECT_EQ(Expression::Make(node, "vars", diagnostics), nullptr) << json;
  if (diagnostics.list().empty()) return {"nothing was reported", "", "", 0};
  const conf::Diagnostic& first = diagnostics.list().front();
  return {first.message, first.hint, first.path, first.position.column};
}

struct Case {
  const char* vars;
  const char* target;
  bool matches;
};

class ExpressionTest : public ::testing::TestWithParam<Case> {};

TEST_P(ExpressionTest, EvaluatesAsLuaRestyExpr) {
  EXPECT_EQ(Eval(GetParam().vars, GetParam().target), GetParam().matches)
      << GetParam().vars << " on " << GetParam().target;
}

INSTANTIATE_TEST_SUITE_P(Text, ExpressionTest,
                         ::testing::Values(Case{R"([])", "/", true},
                                           Case{R"([["arg_x","==","1"]])", "/?x=1", true},
                                           Case{R"([["arg_x","==","1"]])", "/?x=2", false},
                                           Case{R"([["arg_x","==","1"]])", "/", false},
                                           Case{R"([["arg_x","==","1"]])", "/?x=1.0", false},
                                           Case{R"([["arg_x","1"]])", "/?x=1", true},
                                           Case{R"([["arg_x","Ab"]])", "/?x=ab", false},
                                           Case{R"([["arg_x","~=","1"]])", "/?x=2", true},
                                           Case{R"([["arg_x","~=","1"]])", "/?x=1", false},
                                           Case{R"([["arg_x","~=","1"]])", "/", true},
                                           Case{R"([["arg_x","==",""]])", "/?x", true},
                                           Case{R"([["arg_x","==",null]])", "/", true},
                                           Case{R"([["arg_x","==",null]])", "/?x", false},
                                           Case{R"([["arg_x","~=",null]])", "/?x", true},
                                           Case{R"([["arg_x","~=",null]])", "/", false},
                                           Case{R"([["arg_x","!","==","1"]])", "/?x=1", false},
                                           Case{R"([["arg_x","!","==","1"]])", "/", true},
                                           Case{R"([["arg_x","!","~=","1"]])", "/?x=1", true}));

INSTANTIATE_TEST_SUITE_P(Numbers, ExpressionTest,
                         ::testing::Values(Case{R"([["arg_x","==",1]])", "/?x=1", true},
                                           Case{R"([["arg_x","==",1]])", "/?x=1.0", true},
                                           Case{R"([["arg_x","==",1]])", "/?x=+1+", true},
                                           Case{R"([["arg_x","==",1]])", "/?x=1a", false},
                                           Case{R"([["arg_x","==",1]])", "/", false},
                                           Case{R"([["arg_x","~=",1]])", "/", true},
                                           Case{R"([["arg_x","~=",1]])", "/?x=a", true},
                                           Case{R"([["arg_x","~=",1]])", "/?x=1.0", false},
                                           Case{R"([["arg_x",">",10]])", "/?x=9", false},
                                           Case{R"([["arg_x",">",10]])", "/?x=10", false},
                                           Case{R"([["arg_x",">",10]])", "/?x=11", true},
                                           Case{R"([["arg_x",">","10"]])", "/?x=1e2", true},
                                           Case{R"([["arg_x",">=",10]])", "/?x=10", true},
                                           Case{R"([["arg_x","<",-1.5]])", "/?x=-2", true},
                                           Case{R"([["arg_x","<",10]])", "/", false},
                                           Case{R"([["arg_x","<",10]])", "/?x=inf", false},
                                           Case{R"([["arg_x","<",10]])", "/?x=-inf", false},
                                           Case{R"([["arg_x","<",10]])", "/?x=nan", false},
                                           Case{R"([["arg_x","<",10]])", "/?x=-", false},
                                           Case{R"([["arg_x","!","<",10]])", "/", true},
                                           Case{R"([["arg_x","<=",10]])", "/?x=10", true},
                                           Case{R"([["arg_x","<=",10]])", "/?x=10.1", false}));

INSTANTIATE_TEST_SUITE_P(
    Patterns, ExpressionTest,
    ::testing::Values(Case{R"([["arg_x","~~","^a+$"]])", "/?x=aaa", true},
                      Case{R"([["arg_x","~~","b"]])", "/?x=abc", true},
                      Case{R"([["arg_x","~~","^a+$"]])", "/?x=AAA", false},
                      Case{R"([["arg_x","~*","^a+$"]])", "/?x=AAA", true},
                      Case{R"([["arg_x","~~","."]])", "/", false},
                      Case{R"([["arg_x","!","~~","."]])", "/", true},
                      Case{R"j([["arg_x","~~","^(?!admin)"]])j", "/?x=user", true},
                      Case{R"j([["arg_x","~~","^(?!admin)"]])j", "/?x=admin", false},
                      Case{R"j([["arg_x","~*","^(?!admin)"]])j", "/?x=ADMIN", false},
                      Case{R"j([["arg_x","~~","^(.)\\1$"]])j", "/?x=aa", true},
                      Case{R"j([["arg_x","~~","^(.)\\1$"]])j", "/?x=ab", false},
                      Case{R"([["uri","~~","^/a/[0-9]+$"]])", "/a/12", true}));

INSTANTIATE_TEST_SUITE_P(
    Lists, ExpressionTest,
    ::testing::Values(Case{R"([["arg_x","in",["b","a"]]])", "/?x=a", true},
                      Case{R"([["arg_x","in",["b","a"]]])", "/?x=c", false},
                      Case{R"([["arg_x","IN",["b","a"]]])", "/?x=b", true},
                      Case{R"([["arg_x","in",[2,1,"y"]]])", "/?x=1.0", true},
                      Case{R"([["arg_x","in",[2,1,"y"]]])", "/?x=y", true},
                      Case{R"([["arg_x","in",[]]])", "/?x=y", false},
                      Case{R"([["arg_x","!","in",["a"]]])", "/", true},
                      Case{R"([["arg_x","has","b"]])", "/?x=a,b", true},
                      Case{R"([["arg_x","has","b"]])", "/?x=a,bc", false},
                      Case{R"([["arg_x","has",2]])", "/?x=1,2", true},
                      Case{R"([["arg_x","!","has","b"]])", "/", true},
                      Case{R"([["remote_addr","ipmatch",["10.0.0.0/8","127.0.0.0/8"]]])", "/",
                           true},
                      Case{R"([["remote_addr","ipmatch","10.0.0.0/8"]])", "/", false},
                      Case{R"([["arg_x","ipmatch","::1"]])", "/?x=::1", true},
                      Case{R"([["arg_x","ipmatch","::1"]])", "/?x=no", false},
                      Case{R"([["arg_x","!","ipmatch","::1"]])", "/", true}));

INSTANTIATE_TEST_SUITE_P(
    Logic, ExpressionTest,
    ::testing::Values(
        Case{R"([["arg_x","==","1"],["arg_y","==","2"]])", "/?x=1&y=2", true},
        Case{R"([["arg_x","==","1"],["arg_y","==","2"]])", "/?x=1", false},
        Case{R"(["OR",["arg_x","==","1"],["arg_y","==","2"]])", "/?y=2", true},
        Case{R"(["or",["arg_x","==","1"],["arg_y","==","2"]])", "/", false},
        Case{R"(["AND",["arg_x","==","1"],["arg_y","==","2"]])", "/?x=1&y=2", true},
        Case{R"(["!OR",["arg_x","==","1"],["arg_y","==","2"]])", "/?y=2", false},
        Case{R"(["!OR",["arg_x","==","1"],["arg_y","==","2"]])", "/", true},
        Case{R"(["!AND",["arg_x","==","1"],["arg_y","==","2"]])", "/?x=1&y=2", false},
        Case{R"(["!AND",["arg_x","==","1"],["arg_y","==","2"]])", "/?x=1", true},
        Case{R"([["OR",["arg_x","==","1"],["arg_x","==","2"]],["arg_y","==","3"]])", "/?x=2&y=3",
             true},
        Case{R"([["OR",["arg_x","==","1"],["arg_x","==","2"]],["arg_y","==","3"]])", "/?x=2",
             false},
        Case{R"(["AND",["arg_x","==","1"],["!OR",["arg_y",">",10],["arg_z","!",">",5]]])",
             "/?x=1&y=3&z=6", true},
        Case{R"(["AND",["arg_x","==","1"],["!OR",["arg_y",">",10],["arg_z","!",">",5]]])",
             "/?x=1&y=3&z=5", false},
        Case{R"([[["arg_x","==","1"],["arg_y","==","2"]],["arg_z","==","3"]])", "/?x=1&y=2&z=3",
             true}));

TEST(ExpressionTest, SaysWhichComparisonFailed) {
  EXPECT_EQ(Failed(R"([["arg_x","==","1"]])", "/?x=2"), R"(arg_x == "1": got "2")");
  EXPECT_EQ(Failed(R"([["arg_x","==","1"]])", "/"), R"(arg_x == "1": got nothing)");
  EXPECT_EQ(Failed(R"([["arg_x","!","~~","a"]])", "/?x=a"), R"(arg_x ! ~~ "a": got "a")");
  EXPECT_EQ(Failed(R"([["uri","==","/"],["arg_x","in",["1",2]]])", "/?x=3"),
            R"(arg_x in ["1",2]: got "3")");
  EXPECT_EQ(Failed(R"(["OR",["arg_x",">",1],["arg_y",">",2]])", "/?y=0"),
            R"(arg_x > 1: got nothing)");
  EXPECT_EQ(Failed(R"(["!OR",["arg_x",">",1],["arg_y",">",2]])", "/?x=5"),
            "!OR: one of its members is true");
  EXPECT_EQ(Failed(R"([["arg_x","==","1"]])", "/?x=%1b%5B0m"), R"(arg_x == "1": got "\x1b[0m")");
}

TEST(ExpressionTest, APassedMatchLimitIsNoMatchUnderAnyNegation) {
  // Needs back-tracking (the back-reference keeps it out of RE2), exponential on this value.
  const std::string slow = R"("^(a|aa)+\\1c$")";
  const std::string target = "/?x=" + std::string(60, 'a') + "cb";
  TestRequest request("GET", "h", target);
  for (const std::string& vars :
       {"[[\"arg_x\",\"~~\"," + slow + "]]", "[[\"arg_x\",\"!\",\"~~\"," + slow + "]]",
        "[\"!AND\",[\"uri\",\"==\",\"/\"],[\"arg_x\",\"~~\"," + slow + "]]",
        "[\"!OR\",[\"uri\",\"==\",\"/b\"],[\"arg_x\",\"~~\"," + slow + "]]"}) {
    std::string failed;
    EXPECT_FALSE(Eval(vars, request.view, &failed)) << vars;
    EXPECT_THAT(failed, HasSubstr("passed its match limit")) << vars;
  }
}

TEST(ExpressionTest, KnowsWhetherItNeedsTheBody) {
  conf::Diagnostics diagnostics;
  const conf::Node with = Parse(R"(["OR",["uri","==","/"],["post_arg_x","==","1"]])");
  EXPECT_TRUE(Expression::Make(with, "vars", diagnostics)->needs_body());
  const conf::Node without = Parse(R"([["arg_x","==","1"]])");
  EXPECT_FALSE(Expression::Make(without, "vars", diagnostics)->needs_body());
}

TEST(ExpressionTest, RefusesWithPlaceReasonAndHint) {
  Refusal refusal = Refuse(R"([["arg_x","!=","1"]])");
  EXPECT_THAT(refusal.message, HasSubstr("expected an operator"));
  EXPECT_THAT(refusal.message, HasSubstr("got \"!=\""));
  EXPECT_EQ(refusal.hint, "did you mean \"~=\"?");
  EXPECT_EQ(refusal.path, "vars[0][1]");
  EXPECT_EQ(refusal.column, 11U);

  EXPECT_EQ(Refuse(R"([["arg_x","hass","1"]])").hint, "did you mean \"has\"?");
  EXPECT_EQ(Refuse(R"([["arg_x","!","=","1"]])").path, "vars[0][2]");
  EXPECT_EQ(Refuse(R"(["arg_x","==","1"])").hint, R"(write [["arg_x","==","1"]])");
  EXPECT_THAT(Refuse(R"({"a":1})").message, HasSubstr("expected a list of comparisons"));
  EXPECT_THAT(Refuse(R"([["argx","==","1"]])").message, HasSubstr("unknown variable \"argx\""));
  EXPECT_THAT(Refuse(R"([["arg_x"]])").message, HasSubstr("expected [variable, operator, value]"));
  EXPECT_THAT(Refuse(R"([["arg_x","=="]])").message, HasSubstr("expected a value after"));
  EXPECT_THAT(Refuse(R"([["arg_x","not","==","1"]])").message, HasSubstr("expected \"!\""));
  EXPECT_THAT(Refuse(R"([["arg_x","==",true]])").hint, HasSubstr("write \"true\""));
  EXPECT_THAT(Refuse(R"([["arg_x","==",["1"]]])").hint, HasSubstr("use \"in\""));
  EXPECT_THAT(Refuse(R"([["arg_x",">","many"]])").message, HasSubstr("expected a number"));
  EXPECT_THAT(Refuse(R"([["arg_x",">",null]])").message, HasSubstr("expected a number"));
  EXPECT_THAT(Refuse(R"([["arg_x","in","1"]])").message, HasSubstr("expected a list"));
  EXPECT_EQ(Refuse(R"([["arg_x","in",["1",null]]])").path, "vars[0][2][1]");
  EXPECT_THAT(Refuse(R"([["arg_x","~~","(a"]])").message, HasSubstr("at offset 2"));
  EXPECT_THAT(Refuse(R"([["arg_x","~~",1]])").message, HasSubstr("expected a regular expression"));
  EXPECT_THAT(Refuse(R"([["arg_x","ipmatch",["1.2.3"]]])").message, HasSubstr("1.2.3"));
  EXPECT_THAT(Refuse(R"([["arg_x","ipmatch",[]]])").message, HasSubstr("an empty list"));
  EXPECT_THAT(Refuse(R"(["OR",["arg_x","==","1"]])").message, HasSubstr("at least two members"));
  EXPECT_THAT(Refuse(R"([[]])").message, HasSubstr("an empty list"));
  EXPECT_EQ(Refuse(R"([["arg_x","==","1"],"OR"])").path, "vars[1]");
}

TEST(ExpressionTest, ReportsEveryBadComparison) {
  const conf::Node node = Parse(R"([["arg_x","!=","1"],["arg_y","=","1"]])");
  conf::Diagnostics diagnostics;
  EXPECT_EQ(Expression::Make(node, "vars", diagnostics), nullptr);
  EXPECT_EQ(diagnostics.total(), 2U);
}

TEST(ExpressionTest, DepthAndSizeAreCapped) {
  std::string deep = R"(["uri","==","/"])";
  for (int i = 0; i < 20; ++i) deep = "[" + deep + "]";
  EXPECT_THAT(Refuse(deep).message, HasSubstr("levels of nesting"));

  std::string wide = "[";
  for (int i = 0; i < 1200; ++i) wide += R"(["uri","==","/"],)";
  wide.back() = ']';
  EXPECT_THAT(Refuse(wide).message, HasSubstr("at most 1000 terms"));

  const std::string long_pattern = "[[\"uri\",\"~~\",\"" + std::string(5000, 'a') + "\"]]";
  EXPECT_THAT(Refuse(long_pattern).message, HasSubstr("at most 4096 bytes"));

  std::string list;
  for (int i = 0; i < 10'001; ++i) list += R"(,"::1")";
  list[0] = '[';
  EXPECT_THAT(Refuse(R"([["uri","in",)" + list + "]]]").message, HasSubstr("at most 10000 values"));
  EXPECT_THAT(Refuse(R"([["remote_addr","ipmatch",)" + list + "]]]").message,
              HasSubstr("at most 10000 ranges"));
}

TEST(RegexTest, RunsInRe2UnlessThePatternNeedsMore) {
  EXPECT_TRUE(Regex::Make("^a.*b$", Regex::Case::kSensitive)->is_linear());
  EXPECT_FALSE(Regex::Make("a(?=b)", Regex::Case::kSensitive)->is_linear());
  EXPECT_FALSE(Regex::Make("(a)\\1", Regex::Case::kSensitive)->is_linear());
}

// The matcher's own limits start anew at each place where a match may begin, so that these pass
// under them and take half a second each.
TEST(RegexTest, WorkIsLimitedOverAllPlacesWhereAMatchMayBegin) {
  const std::string many(32'000, 'a');
  std::string runs = many;
  for (size_t i = 0; i < runs.size(); i += 200) runs[i] = 'd';
  const std::pair<const char*, std::string> slow[] = {{"([ab]*)c\\1d", many + "d"},
                                                      {"(?=.*b)(?:aa|a)*c", many + "c"},
                                                      {"(?:(?=.*b)a)*c", runs + "c"},
                                                      {"((a{30}){30}){30}(?=b)", many}};
  Regex::Groups groups;
  for (const auto& [pattern, subject] : slow) {
    const auto regex = Regex::Make(pattern, Regex::Case::kSensitive);
    EXPECT_EQ(regex->Search(subject), Regex::Outcome::kLimit) << pattern;
    EXPECT_EQ(regex->Find(subject, 1, groups), Regex::Outcome::kLimit) << pattern;
  }
}

TEST(RegexTest, WhatIsUsualStaysUnderItsLimits) {
  const std::string many(60'000, 'a');
  for (const char* pattern : {"^(?=.*b)(?=.*c)[a-z]+$", "a(?=bc)", "(?<!c)bc$"}) {
    const auto regex = Regex::Make(pattern, Regex::Case::kInsensitive);
    EXPECT_FALSE(regex->is_linear()) << pattern;
    EXPECT_EQ(regex->Search(many + "BC"), Regex::Outcome::kMatch) << pattern;
  }
  EXPECT_EQ(Regex::Make("x(?=y)", Regex::Case::kSensitive)->Search(many + "x"),
            Regex::Outcome::kNoMatch);
}

TEST(RegexTest, MatchesBytesThatAreNotUtf8) {
  const auto regex = Regex::Make("^.\xff.$", Regex::Case::kSensitive);
  EXPECT_EQ(regex->Search("\x80\xff\x80"), Regex::Outcome::kMatch);
  EXPECT_EQ(regex->Search(""), Regex::Outcome::kNoMatch);
}

}  // namespace
}  // namespace sluice
