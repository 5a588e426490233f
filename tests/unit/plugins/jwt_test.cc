#include "plugins/support/jwt.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/plugins/token_signer.h"

namespace sluice::plugins {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string Url(std::string_view text) { return EncodeBase64(text, Base64::kUrl); }

std::string Unsigned(std::string_view header, std::string_view claims) {
  return Url(header) + "." + Url(claims) + ".c2ln";
}

std::string Refusal(std::string_view token) {
  Jwt jwt;
  const Status parsed = jwt.Parse(token);
  return parsed.has_value() ? "accepted" : parsed.error().detail;
}

std::string HeaderRefusal(std::string_view header) { return Refusal(Unsigned(header, "{}")); }
std::string ClaimsRefusal(std::string_view claims) {
  return Refusal(Unsigned(R"({"alg":"HS256"})", claims));
}

TEST(JwtTest, TakesATokenApart) {
  Jwt jwt;
  const std::string token = Unsigned(
      R"({"typ":"JWT","alg":"HS256","kid":"k-1"})",
      R"({"key":"u\u0073er","exp":17,"list":[1,{"a":[]},"x"],"deep":{"b":true},"none":null,"f":1.5})");
  ASSERT_TRUE(jwt.Parse(token).has_value());
  EXPECT_EQ(jwt.algorithm(), "HS256");
  EXPECT_EQ(jwt.key_id(), "k-1");
  EXPECT_EQ(jwt.signature(), "sig");
  EXPECT_EQ(jwt.signing_input(), token.substr(0, token.size() - 5));
  const FlatJson& claims = jwt.claims();
  EXPECT_EQ(claims.Find("key")->text, "user");
  EXPECT_EQ(claims.Find("exp")->integer, 17);
  EXPECT_EQ(claims.Find("f")->number, 1.5);
  EXPECT_EQ(claims.Find("none")->kind, FlatJson::Kind::kNull);
  EXPECT_TRUE(claims.Find(*claims.Find("deep"), "b")->boolean);
  EXPECT_EQ(claims.Find("b"), nullptr) << "a member of a member is none";
  const FlatJson::Value& list = *claims.Find("list");
  const FlatJson::Value* const one = claims.First(list);
  const FlatJson::Value* const map = claims.Next(list, *one);
  const FlatJson::Value* const text = claims.Next(list, *map);
  EXPECT_EQ(one->integer, 1);
  EXPECT_EQ(text->text, "x");
  EXPECT_EQ(claims.Next(list, *text), nullptr);
  EXPECT_EQ(claims.First(*claims.First(*map)), nullptr) << "an empty list";
}

TEST(JwtTest, ARefusedTokenLeavesNothingOfTheOneBefore) {
  Jwt jwt;
  ASSERT_TRUE(jwt.Parse(Unsigned(R"({"alg":"HS256","kid":"k"})", R"({"key":"a"})")).has_value());
  ASSERT_FALSE(jwt.Parse("x").has_value());
  EXPECT_EQ(jwt.key_id(), std::nullopt);
  EXPECT_EQ(jwt.algorithm(), "");
  ASSERT_TRUE(jwt.Parse(Unsigned(R"({"alg":"RS256"})", "{}")).has_value());
  EXPECT_EQ(jwt.key_id(), std::nullopt);
  EXPECT_EQ(jwt.claims().Find("key"), nullptr);
}

TEST(JwtTest, RefusesWhatIsNotThreeParts) {
  for (const char* token : {"", ".", "a", "a.b", "a.b.c.d", "...."}) {
    EXPECT_THAT(Refusal(token), HasSubstr("expected header.claims.signature, got")) << token;
  }
  EXPECT_THAT(Refusal("e30.e30.e30.e30.e30"), HasSubstr("5 parts (an encrypted token?)"));
  EXPECT_THAT(Refusal(".."), HasSubstr("header"));
  EXPECT_THAT(Refusal(Url(R"({"alg":"none"})") + "." + Url("{}") + "."), HasSubstr("got none"));
}

// Row 112: what other readers of base64 let pass.
TEST(JwtTest, Base64IsReadInOneSpelling) {
  const std::string header = Url(R"({"alg":"HS256"})");
  const std::string claims = Url(R"({"a":"~~~???"})");
  ASSERT_EQ(Refusal(header + "." + claims + ".c2ln"), "accepted");
  for (const std::string& token :
       {header + "=." + claims + ".c2ln", header + "." + claims + "==.c2ln",
        header + "." + claims + ".c2ln=", header + "." + claims + ".c2l+",
        header + "." + claims + ".c2l/", " " + header + "." + claims + ".c2ln",
        header + "." + claims + ".c2ln\n", header + "." + claims + ".c2m",
        header + "." + claims + ".c", header + "." + claims + "." + std::string("c2l\0", 4),
        "Bearer " + header + "." + claims + ".c2ln"}) {
    EXPECT_THAT(Refusal(token), HasSubstr("base64url")) << token;
  }
}

TEST(JwtTest, SizesAreLimited) {
  const std::string head = Url(R"({"alg":"HS256"})") + ".";
  const auto padded = [](size_t size) { return R"({"a":")" + std::string(size, 'x') + "\"}"; };
  EXPECT_THAT(Refusal(std::string(1 << 20, 'x')), HasSubstr("at most 8192 bytes, got 1048576"));
  EXPECT_EQ(Refusal(head + Url(padded(6000)) + ".c2ln"), "accepted");
  EXPECT_THAT(Refusal(head + Url(padded(6200)) + ".c2ln"), HasSubstr("at most 8192 bytes"));
  const std::string large = R"({"alg":"HS256","kid":")" + std::string(3100, 'k') + "\"}";
  EXPECT_THAT(HeaderRefusal(large), HasSubstr("a header of at most 4096 bytes"));
  EXPECT_EQ(HeaderRefusal(R"({"alg":"HS256","kid":")" + std::string(3000, 'k') + "\"}"),
            "accepted");
  for (size_t size = 8180; size <= 8192; ++size) {  // the largest fill the buffer to its end
    std::string token = head + "e30.";
    token.append(size - token.size(), 'A');
    EXPECT_THAT(Refusal(token), testing::AnyOf("accepted", HasSubstr("signature in base64url")));
  }
}

TEST(JwtTest, NestingAndNumberAreLimited) {
  const auto nested = [](size_t depth) {
    return R"({"a":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_EQ(ClaimsRefusal(nested(15)), "accepted");
  EXPECT_THAT(ClaimsRefusal(nested(16)), HasSubstr("at most 16 levels"));
  EXPECT_THAT(ClaimsRefusal(nested(3000)), HasSubstr("at most 16 levels"));
  EXPECT_THAT(ClaimsRefusal(std::string(6000, '[')), HasSubstr("expected an object"));
  EXPECT_THAT(ClaimsRefusal(R"({"a":)" + std::string(6000, '{')), HasSubstr("got a fault"));
  EXPECT_THAT(Refusal(std::string(100'000, '[')), HasSubstr("at most 8192 bytes"));
  std::string many = "{\"a\":[1";
  for (int i = 0; i < 600; ++i) many += ",1";
  EXPECT_THAT(ClaimsRefusal(many + "]}"), HasSubstr("at most 512 values"));
}

TEST(JwtTest, MembersThatAreThereTwiceAreRefused) {
  EXPECT_THAT(HeaderRefusal(R"({"alg":"HS256","alg":"none"})"), HasSubstr("\"alg\" again"));
  EXPECT_THAT(HeaderRefusal(R"({"alg":"HS256","\u0061lg":"none"})"), HasSubstr("\"alg\" again"));
  EXPECT_THAT(ClaimsRefusal(R"({"exp":1,"a":[1,2],"exp":2})"), HasSubstr("\"exp\" again"));
  EXPECT_THAT(ClaimsRefusal(R"({"a":{"b":1,"b":1}})"), HasSubstr("\"b\" again"));
  EXPECT_EQ(ClaimsRefusal(R"({"a":{"b":1},"b":{"b":1},"c":[{"b":1},{"b":1}]})"), "accepted");
}

TEST(JwtTest, RefusesWhatIsNotJson) {
  for (const std::string& claims :
       {std::string(""), std::string("{"), std::string("{}{}"), std::string("{} x"),
        std::string("{'a':1}"), std::string(R"({"a":01})"), std::string(R"({"a":NaN})"),
        std::string(R"({"a":1,})"), std::string("{/**/}"), std::string("\xef\xbb\xbf{}"),
        std::string(R"({"a":"\x"})"), std::string("{\"a\":\"\n\"}")}) {
    EXPECT_THAT(ClaimsRefusal(claims), HasSubstr("expected JSON, got a fault at byte")) << claims;
  }
  for (const char* claims : {"[]", "null", "true", "17", "\"text\"", "[{}]"}) {
    EXPECT_THAT(ClaimsRefusal(claims), HasSubstr("expected an object, got")) << claims;
  }
}

TEST(JwtTest, RefusesNulAndBytesThatAreNotUtf8) {
  EXPECT_THAT(ClaimsRefusal(std::string("{}\0", 3)), HasSubstr("NUL"));
  EXPECT_THAT(ClaimsRefusal(std::string("{}\0{\"a\":1}", 10)), HasSubstr("NUL"));
  EXPECT_THAT(ClaimsRefusal(R"({"key":"user\u0000x"})"), HasSubstr("NUL"));
  EXPECT_THAT(HeaderRefusal(R"({"alg":"HS256","kid":"a\u0000"})"), HasSubstr("NUL"));
  EXPECT_THAT(ClaimsRefusal("{\"a\":\"\xff\"}"), HasSubstr("expected UTF-8"));
  EXPECT_THAT(ClaimsRefusal("{\"a\":\"\xc0\xae\"}"), HasSubstr("expected UTF-8"));
  EXPECT_THAT(ClaimsRefusal(R"({"a":"\ude00"})"), HasSubstr("surrogate"));
  EXPECT_NE(ClaimsRefusal(R"({"a":"\ud83d"})"), "accepted");
  EXPECT_EQ(ClaimsRefusal(R"({"a":"\ud83d\ude00"})"), "accepted");
}

TEST(JwtTest, HeadersThatChangeTheMeaningAreRefused) {  // row 113
  for (const char* member :
       {R"("crit":["exp"])", R"("crit":[])", R"("crit":["b64"],"b64":false)", R"("b64":false)",
        R"("b64":true)", R"("enc":"A128GCM")", R"("zip":"DEF")"}) {
    EXPECT_THAT(HeaderRefusal(std::string(R"({"alg":"HS256",)") + member + "}"),
                HasSubstr("which is not supported"))
        << member;
  }
  EXPECT_THAT(HeaderRefusal(R"({"alg":"HS256","cty":"JWT"})"), HasSubstr("within a token"));
  EXPECT_THAT(HeaderRefusal(R"({"alg":"HS256","cty":"application/jwt"})"), HasSubstr("within"));
  EXPECT_EQ(HeaderRefusal(R"({"alg":"HS256","typ":"at+jwt","cty":"json"})"), "accepted");
  for (const char* member : {R"("alg":null)", R"("alg":["HS256"])", R"("alg":256)",
                             R"("alg":"HS256","kid":7)", R"("alg":"HS256","typ":{})"}) {
    EXPECT_THAT(HeaderRefusal(std::string("{") + member + "}"), HasSubstr("to be text")) << member;
  }
  EXPECT_THAT(HeaderRefusal("{}"), HasSubstr("expected alg, got none"));
}

TEST(JwtTest, KeysWithinTheTokenAreIgnored) {  // row 109
  const TokenSigner signer("HS256");
  Jwt jwt;
  const std::string token = signer.Token(
      R"({"alg":"HS256","jku":"http://evil.test/","x5u":"file:///etc/passwd","jwk":{"kty":"oct","k":"AA"},"x5c":["AA"]})",
      "{}");
  ASSERT_TRUE(jwt.Parse(token).has_value());
  EXPECT_TRUE(signer.Key().Verify(jwt).has_value());
}

TEST(JwtTest, AKeyIdIsJustText) {  // row 108: only ever looked up
  for (const std::string& id :
       {std::string("../../dev/null"), std::string("' OR 1=1 --"), std::string("\xc3\xa9")}) {
    Jwt jwt;
    const std::string token = Unsigned(R"({"alg":"HS256","kid":")" + id + "\"}", "{}");
    ASSERT_TRUE(jwt.Parse(token).has_value());
    EXPECT_EQ(jwt.key_id(), id);
  }
}

// --- claims

constexpr int64_t kNow = 1'800'000'000;

std::string Claims(std::string_view json, const ClaimRules& rules, int64_t now = kNow) {
  Jwt jwt;
  if (const Status parsed = jwt.Parse(Unsigned(R"({"alg":"HS256"})", json)); !parsed.has_value()) {
    return parsed.error().detail;
  }
  const auto valid = CheckClaims(jwt.claims(), rules, WallTime(seconds(now)));
  return valid.has_value() ? "ok" : valid.error().detail;
}

std::string Exp(std::string_view value) {
  return Claims("{\"exp\":" + std::string(value) + "}", {});
}
std::string Nbf(std::string_view value) {
  return Claims("{\"exp\":1900000000,\"nbf\":" + std::string(value) + "}", {});
}

TEST(JwtClaimsTest, TimesAreCheckedToTheSecond) {  // row 111
  EXPECT_EQ(Exp("1800000001"), "ok");
  EXPECT_THAT(Exp("1800000000"), HasSubstr("expected exp after 1800000000, got 1800000000"));
  EXPECT_THAT(Exp("1799999999"), HasSubstr("expected exp after"));
  EXPECT_EQ(Nbf("1800000000"), "ok");
  EXPECT_THAT(Nbf("1800000001"), HasSubstr("expected nbf up to 1800000000, got 1800000001"));
}

TEST(JwtClaimsTest, LeewayIsAddedOnBothSides) {
  const ClaimRules rules{.leeway = seconds(60)};
  EXPECT_EQ(Claims(R"({"exp":1799999941})", rules), "ok");
  EXPECT_NE(Claims(R"({"exp":1799999940})", rules), "ok");
  EXPECT_EQ(Claims(R"({"exp":1900000000,"nbf":1800000060})", rules), "ok");
  EXPECT_NE(Claims(R"({"exp":1900000000,"nbf":1800000061})", rules), "ok");
  EXPECT_NE(Claims(R"({"exp":1799999999})", {.leeway = seconds(-5)}), "ok");
  EXPECT_EQ(Claims(R"({"exp":9007199254740992})", {.leeway = seconds(INT64_MAX)}), "ok");
}

TEST(JwtClaimsTest, TimesThatAreNoneAreRefused) {  // row 111
  for (const char* value :
       {"-1", "-1800000001", "\"1900000000\"", "1900000000.5", "1.9e9", "true", "null", "[]", "{}",
        "9007199254740993", "9223372036854775807", "18446744073709551616", "1e300", "-1e300"}) {
    EXPECT_THAT(Exp(value), HasSubstr("expected exp in whole seconds")) << value;
    EXPECT_THAT(Nbf(value), HasSubstr("expected nbf in whole seconds")) << value;
  }
  EXPECT_THAT(Exp("1e400"), HasSubstr("expected JSON"));
  EXPECT_THAT(Nbf("-1e400"), HasSubstr("expected JSON"));
}

TEST(JwtClaimsTest, TheRulesSayWhatMustBeThere) {
  using Need = ClaimRules::Need;
  EXPECT_THAT(Claims("{}", {}), HasSubstr("expected the claim exp, got none"));
  EXPECT_EQ(Claims("{}", {.expiry = Need::kIfPresent}), "ok");
  EXPECT_NE(Claims(R"({"exp":1})", {.expiry = Need::kIfPresent}), "ok");
  EXPECT_EQ(Claims(R"({"exp":1})", {.expiry = Need::kIgnored}), "ok");
  EXPECT_EQ(Claims(R"({"exp":"x"})", {.expiry = Need::kIgnored}), "ok");
  EXPECT_THAT(Claims(R"({"exp":1900000000})", {.not_before = Need::kRequired}),
              HasSubstr("expected the claim nbf, got none"));
}

TEST(JwtClaimsTest, TellsWhenTheTokenMayBeUsed) {
  Jwt jwt;
  ASSERT_TRUE(
      jwt.Parse(Unsigned(R"({"alg":"HS256"})", R"({"exp":1900000000,"nbf":17})")).has_value());
  const auto valid =
      CheckClaims(jwt.claims(), {.leeway = seconds(7)}, WallTime(seconds(kNow))).value();
  EXPECT_EQ(valid.from, 10);
  EXPECT_EQ(valid.until, 1'900'000'007);
}

TEST(JwtClaimsTest, IssuerAndAudienceMustBeNamed) {  // row 114
  const std::vector<std::string> issuers = {"https://a.test", "https://b.test"};
  const std::vector<std::string> audiences = {"api", "admin"};
  const ClaimRules rules{
      .expiry = ClaimRules::Need::kIgnored, .issuers = issuers, .audiences = audiences};
  EXPECT_EQ(Claims(R"({"iss":"https://b.test","aud":"api"})", rules), "ok");
  EXPECT_EQ(Claims(R"({"iss":"https://a.test","aud":["x","admin"]})", rules), "ok");
  for (const char* claims :
       {R"({"aud":"api"})", R"({"iss":"https://a.test/","aud":"api"})",
        R"({"iss":["https://a.test"],"aud":"api"})", R"({"iss":null,"aud":"api"})",
        R"({"iss":"HTTPS://A.TEST","aud":"api"})"}) {
    EXPECT_THAT(Claims(claims, rules), HasSubstr("iss")) << claims;
  }
  for (const char* aud : {"\"apis\"", "\"\"", "[]", "null", "7", "[\"x\"]", "[\"api\",7]",
                          "[[\"api\"]]", "{\"api\":\"api\"}"}) {
    EXPECT_THAT(Claims(std::string(R"({"iss":"https://a.test","aud":)") + aud + "}", rules),
                HasSubstr("aud"))
        << aud;
  }
  EXPECT_THAT(Claims(R"({"iss":"https://a.test"})", rules), HasSubstr("claim aud, got none"));
}

}  // namespace
}  // namespace sluice::plugins
