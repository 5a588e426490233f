#include "plugins/support/jwk.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/plugins/token_signer.h"

namespace sluice::plugins {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Member(std::string_view name, std::string_view bytes) {
  return "\"" + std::string(name) + "\":\"" + EncodeBase64(bytes, Base64::kUrl) + "\"";
}

std::string RsaJwk(const TokenSigner& signer, const std::string& more) {
  return R"({"kty":"RSA",)" + more + Member("n", signer.Number(OSSL_PKEY_PARAM_RSA_N, 0)) + "," +
         Member("e", signer.Number(OSSL_PKEY_PARAM_RSA_E, 0)) + "}";
}
std::string EcJwk(const TokenSigner& signer, const std::string& curve, size_t size) {
  return R"({"kty":"EC","kid":"ec","crv":")" + curve + "\"," +
         Member("x", signer.Number(OSSL_PKEY_PARAM_EC_PUB_X, size)) + "," +
         Member("y", signer.Number(OSSL_PKEY_PARAM_EC_PUB_Y, size)) + "}";
}

bool Verifies(const JwkSet& set, const std::string& token) {
  Jwt jwt;
  EXPECT_TRUE(jwt.Parse(token).has_value());
  const JwsKey* const key = set.Find(jwt);
  return key != nullptr && key->Verify(jwt).has_value();
}

std::string Refusal(std::string_view json) {
  const auto made = JwkSet::Make(json);
  return made.has_value() ? "accepted" : made.error().detail;
}

TEST(JwkTest, ReadsKeysOfEachKind) {
  const TokenSigner rsa("RS256"), pss("PS384"), p256("ES256"), p384("ES384"), p521("ES512"),
      ed("EdDSA");
  EXPECT_TRUE(Verifies(JwkSet::Make(RsaJwk(rsa, "")).value(), rsa.Token("{}")));
  EXPECT_TRUE(Verifies(JwkSet::Make(RsaJwk(pss, R"("alg":"PS384",)")).value(), pss.Token("{}")));
  EXPECT_TRUE(
      Verifies(JwkSet::Make(RsaJwk(pss, ""), JwsAlgorithm::kPs384).value(), pss.Token("{}")));
  EXPECT_TRUE(Verifies(JwkSet::Make(EcJwk(p256, "P-256", 32)).value(), p256.Token("{}")));
  EXPECT_TRUE(Verifies(JwkSet::Make(EcJwk(p384, "P-384", 48)).value(), p384.Token("{}")));
  EXPECT_TRUE(Verifies(JwkSet::Make(EcJwk(p521, "P-521", 66)).value(), p521.Token("{}")));
  const std::string okp = R"({"kty":"OKP","crv":"Ed25519",)" + Member("x", ed.RawPublicKey()) + "}";
  EXPECT_TRUE(Verifies(JwkSet::Make(okp).value(), ed.Token("{}")));
  EXPECT_EQ(JwkSet::Make(RsaJwk(rsa, "")).value().keys()[0].key.identity(), rsa.Key().identity())
      << "the same key, however it is written";
}

TEST(JwkTest, ASetIsAskedByKeyId) {
  const TokenSigner one("RS256"), two("RS256", 1);
  const JwkSet set = JwkSet::Make(R"({"keys":[)" + RsaJwk(one, R"("kid":"1",)") + "," +
                                  RsaJwk(two, R"("kid":"2","use":"sig",)") + "]}")
                         .value();
  EXPECT_TRUE(Verifies(set, one.Token(R"({"alg":"RS256","kid":"1"})", "{}")));
  EXPECT_TRUE(Verifies(set, two.Token(R"({"alg":"RS256","kid":"2"})", "{}")));
  EXPECT_FALSE(Verifies(set, two.Token(R"({"alg":"RS256","kid":"1"})", "{}")));
  EXPECT_FALSE(Verifies(set, one.Token(R"({"alg":"RS256","kid":"3"})", "{}"))) << "unknown";
  EXPECT_FALSE(Verifies(set, one.Token(R"({"alg":"RS256"})", "{}"))) << "one of two, nobody said";
  EXPECT_FALSE(Verifies(set, one.Token(R"({"alg":"RS512","kid":"1"})", "{}"))) << "pinned";
}

TEST(JwkTest, KeysThatCannotVerifyAreLeftOut) {
  const TokenSigner rsa("RS256");
  const std::string good = RsaJwk(rsa, R"("kid":"good",)");
  const std::string bad[] = {R"({"kty":"oct","k":"c2VjcmV0","alg":"HS256"})",
                             RsaJwk(rsa, R"("use":"enc",)"),
                             RsaJwk(rsa, R"("key_ops":["encrypt"],)"),
                             RsaJwk(rsa, R"("alg":"HS256",)"),
                             RsaJwk(rsa, R"("alg":"ES256",)"),
                             RsaJwk(rsa, R"("alg":"none",)"),
                             RsaJwk(rsa, R"("alg":7,)"),
                             R"({"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"})",
                             R"({"kty":"EC","crv":"P-256","x":"AA","y":"AA"})",
                             R"({"kty":"OKP","crv":"X25519","x":"AA"})",
                             R"({"kty":"RSA","n":"AQ","e":"AQAB"})",
                             R"({"kty":"RSA","n":"A+/=","e":"AQAB"})",
                             R"({"kty":["RSA"]})",
                             "{}",
                             "7",
                             "null",
                             "[]"};
  for (const std::string& key : bad) {
    const JwkSet set = JwkSet::Make(R"({"keys":[)" + key + "," + good + "]}").value();
    ASSERT_EQ(set.keys().size(), 1U) << key;
    EXPECT_EQ(set.keys()[0].id, "good");
    EXPECT_THAT(set.skipped(), ElementsAre(HasSubstr("key 1: ")));
    EXPECT_THAT(Refusal(R"({"keys":[)" + key + "]}"), HasSubstr("at least one key")) << key;
  }
}

TEST(JwkTest, BrokenDocumentsAreRefused) {
  EXPECT_THAT(Refusal(""), HasSubstr("JWK"));
  EXPECT_THAT(Refusal("<html>"), HasSubstr("line 1: not JSON"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(Refusal(R"({"keys":{}})"), HasSubstr("expected an object with a list"));
  EXPECT_THAT(Refusal(R"({"keys":[]})"), HasSubstr("got none"));
  EXPECT_THAT(Refusal(R"({"keys":[],"keys":[]})"), HasSubstr("keys"));
  EXPECT_THAT(Refusal(std::string(300'000, ' ')), HasSubstr("JWK"));
  EXPECT_THAT(Refusal(std::string(100'000, '[')), HasSubstr("JWK"));
  std::string many = R"({"keys":[{})";
  for (int i = 0; i < 100; ++i) many += ",{}";
  EXPECT_THAT(Refusal(many + "]}"), HasSubstr("at most 100 keys, got 101"));
}

}  // namespace
}  // namespace sluice::plugins
