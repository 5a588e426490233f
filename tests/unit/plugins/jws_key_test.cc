#include "plugins/support/jws_key.h"

#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/plugins/token_signer.h"

namespace sluice::plugins {
namespace {

using testing::HasSubstr;

constexpr std::string_view kClaims = R"({"key":"user","exp":4102444800})";

std::string Verdict(const JwsKey& key, std::string_view token) {
  Jwt jwt;
  if (const Status parsed = jwt.Parse(token); !parsed.has_value()) return parsed.error().detail;
  const Status verified = key.Verify(jwt);
  return verified.has_value() ? "ok" : verified.error().detail;
}

std::string WithSignature(const std::string& token, std::string_view signature) {
  return token.substr(0, token.rfind('.') + 1) + EncodeBase64(signature, Base64::kUrl);
}

std::string SignatureOf(const std::string& token) {
  return DecodeBase64(token.substr(token.rfind('.') + 1), Base64::kUrl).value();
}

class EachAlgorithmTest : public testing::TestWithParam<const char*> {};

TEST_P(EachAlgorithmTest, AcceptsItsOwnSignatureAgainAndAgain) {
  const TokenSigner signer(GetParam());
  const JwsKey key = signer.Key();
  for (int i = 0; i < 8; ++i) {  // ECDSA's numbers differ in length from one to the next
    const std::string claims = R"({"key":"user)" + std::to_string(i) + R"("})";
    EXPECT_EQ(Verdict(key, signer.Token(claims)), "ok");
  }
}

TEST_P(EachAlgorithmTest, RefusesEveryChangedByte) {
  const TokenSigner signer(GetParam());
  const JwsKey key = signer.Key();
  const std::string token = signer.Token(kClaims);
  const std::string signature = SignatureOf(token);
  for (size_t i = 0; i < signature.size(); i += 7) {
    std::string changed = signature;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    EXPECT_NE(Verdict(key, WithSignature(token, changed)), "ok") << i;
  }
  const std::string other = signer.Token(R"({"key":"admin","exp":4102444800})");
  EXPECT_NE(Verdict(key, WithSignature(other, signature)), "ok");
  EXPECT_EQ(Verdict(key, token), "ok") << "a refusal spoils nothing";
}

TEST_P(EachAlgorithmTest, RefusesSignaturesOfAnotherLength) {
  const TokenSigner signer(GetParam());
  const JwsKey key = signer.Key();
  const std::string token = signer.Token(kClaims);
  const std::string signature = SignatureOf(token);
  for (const std::string& other : {signature.substr(1), signature + '\0', '\0' + signature,
                                   signature.substr(0, 1), signature + signature}) {
    EXPECT_THAT(Verdict(key, WithSignature(token, other)), HasSubstr("expected a signature of "));
  }
  EXPECT_THAT(Verdict(key, WithSignature(token, "")), HasSubstr("expected a signature, got none"));
}

TEST_P(EachAlgorithmTest, RefusesTheKeyOfSomebodyElse) {
  const TokenSigner signer(GetParam());
  const TokenSigner other(GetParam(), 1);
  if (GetParam()[0] == 'H') return;  // one secret for all
  EXPECT_NE(Verdict(other.Key(), signer.Token(kClaims)), "ok");
  EXPECT_NE(other.Key().identity(), signer.Key().identity());
  EXPECT_EQ(signer.Key().identity(), signer.Key().identity());
}

// Row 106 and 107 of the list of hard inputs: the algorithm is the key's.
TEST_P(EachAlgorithmTest, TheTokenDoesNotChooseTheAlgorithm) {
  const TokenSigner signer(GetParam());
  const JwsKey key = signer.Key();
  const std::string signature = SignatureOf(signer.Token(kClaims));
  for (const char* name : {"none",  "None",  "nOnE",  "NONE",  "",       "HS256", "HS384",
                           "HS512", "RS256", "RS384", "RS512", "PS256",  "PS384", "PS512",
                           "ES256", "ES384", "ES512", "EdDSA", "ES256K", "hs256", "rs256"}) {
    if (std::string_view(name) == GetParam()) continue;
    const std::string header = std::string(R"({"alg":")") + name + R"("})";
    EXPECT_THAT(Verdict(key, signer.Token(header, kClaims)), HasSubstr("expected alg ")) << name;
  }
  EXPECT_THAT(Verdict(key, signer.Token(R"({"typ":"JWT"})", kClaims)), HasSubstr("expected alg"));
}

TEST_P(EachAlgorithmTest, ThreadsMayShareAKey) {
  const TokenSigner signer(GetParam());
  const JwsKey key = signer.Key();
  const std::string token = signer.Token(kClaims);
  std::vector<std::string> verdicts(3);
  std::vector<std::thread> threads;
  for (std::string& verdict : verdicts) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        verdict = Verdict(key, token);
        if (verdict != "ok") return;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(verdicts, testing::Each("ok"));
}

INSTANTIATE_TEST_SUITE_P(Jws, EachAlgorithmTest,
                         testing::Values("HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
                                         "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
                                         "EdDSA"),
                         [](const auto& test) { return std::string(test.param); });

TEST(JwsKeyTest, AcceptsTheExampleOfRfc7515) {  // appendix A.1
  const auto secret = DecodeBase64(
      "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
      Base64::kUrl);
  const JwsKey key = JwsKey::FromSecret(JwsAlgorithm::kHs256, secret.value()).value();
  EXPECT_EQ(Verdict(key,
                    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
                    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
                    "c19yb290Ijp0cnVlfQ"
                    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "ok");
}

// CVE-2015-9235: HMAC with the bytes of the public key.
TEST(JwsKeyTest, APublicKeyIsNoSecret) {
  const TokenSigner rsa("RS256");
  const std::string pem = rsa.Pem();
  const std::string input =
      EncodeBase64(R"({"alg":"HS256"})", Base64::kUrl) + "." + EncodeBase64(kClaims, Base64::kUrl);
  unsigned char code[32];
  unsigned int size = 0;
  HMAC(EVP_sha256(), pem.data(), static_cast<int>(pem.size()),
       reinterpret_cast<const unsigned char*>(input.data()), input.size(), code, &size);
  const std::string token = WithSignature(input + ".", {reinterpret_cast<char*>(code), size});
  EXPECT_THAT(Verdict(rsa.Key(), token), HasSubstr("expected alg RS256 as its key has, got"));
  const auto made = JwsKey::FromSecret(JwsAlgorithm::kHs256, pem);
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().detail, HasSubstr("got a key in PEM"));
}

// CVE-2022-21449 and its relatives: numbers outside 1 to n-1.
TEST(JwsKeyTest, EcdsaRefusesNumbersOutOfRange) {
  const TokenSigner signer("ES256");
  const JwsKey key = signer.Key();
  const std::string token = signer.Token(kClaims);
  const std::string signature = SignatureOf(token);
  const std::string r = signature.substr(0, 32);
  const std::string s = signature.substr(32);
  const std::string zero(32, '\0');
  const std::string order(
      "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"
      "\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
      32);
  const std::string most(32, '\xff');
  for (const std::string& bad :
       {zero + zero, zero + s, r + zero, order + order, r + order, order + s, most + most, s + r}) {
    EXPECT_THAT(Verdict(key, WithSignature(token, bad)), HasSubstr("does not match"));
  }
}

TEST(JwsKeyTest, EcdsaTakesNoDer) {
  const TokenSigner signer("ES256");
  const std::string token = signer.Token(kClaims);
  EXPECT_THAT(Verdict(signer.Key(), WithSignature(token, "\x30\x44" + SignatureOf(token))),
              HasSubstr("expected a signature of 64 bytes"));
}

std::string Refusal(const Result<JwsKey>& made) {
  return made.has_value() ? "accepted" : made.error().detail;
}

TEST(JwsKeyTest, AKeyMustBeOfItsAlgorithm) {
  const std::string rsa = TokenSigner("RS256").Pem();
  const std::string p256 = TokenSigner("ES256").Pem();
  const std::string ed = TokenSigner("EdDSA").Pem();
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kRs256, p256)), HasSubstr("expected an RSA"));
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kPs512, ed)), HasSubstr("expected an RSA"));
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kEs384, p256)), HasSubstr("got prime256v1"));
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kEs256, rsa)), HasSubstr("elliptic curve"));
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kEdDsa, p256)), HasSubstr("Ed25519"));
  EXPECT_THAT(Refusal(JwsKey::FromPem(JwsAlgorithm::kHs256, rsa)), HasSubstr("expected a secret"));
  EXPECT_THAT(Refusal(JwsKey::FromSecret(JwsAlgorithm::kRs256, "x")), HasSubstr("public key"));
  EXPECT_THAT(Refusal(JwsKey::FromSecret(JwsAlgorithm::kHs256, "")), HasSubstr("empty"));
}

TEST(JwsKeyTest, BadPemIsRefused) {
  const std::string pem = TokenSigner("RS256").Pem();
  const auto refusal = [](std::string_view text) {
    return Refusal(JwsKey::FromPem(JwsAlgorithm::kRs256, text));
  };
  EXPECT_THAT(refusal(""), HasSubstr("-----BEGIN PUBLIC KEY-----"));
  EXPECT_THAT(refusal("hello"), HasSubstr("-----BEGIN PUBLIC KEY-----"));
  EXPECT_THAT(refusal(pem.substr(0, pem.size() / 2)), HasSubstr("cannot read"));
  EXPECT_THAT(refusal("-----BEGIN RSA PRIVATE KEY-----\n"), HasSubstr("got a private one"));
  EXPECT_THAT(refusal("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), HasSubstr("got a private one"));
  EXPECT_THAT(refusal("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
              HasSubstr("cannot read"));
  EXPECT_THAT(refusal(pem + std::string(65536, '\n')), HasSubstr("64 KiB"));
}

TEST(JwsKeyTest, WeakRsaKeysAreRefused) {
  const std::string even(256, '\xfe');
  const auto refusal = [](std::string_view n, std::string_view e) {
    return Refusal(JwsKey::FromRsa(JwsAlgorithm::kRs256, n, e));
  };
  const std::string odd = even.substr(1) + '\xff';
  EXPECT_THAT(refusal(odd.substr(128), "\x01\x00\x01"), HasSubstr("2048 to 8192 bits"));
  EXPECT_THAT(refusal(odd, std::string("\x01\x00\x01", 3)), "accepted");
  EXPECT_THAT(refusal(odd, "\x01"), HasSubstr("public exponent"));
  EXPECT_THAT(refusal(odd, "\x02"), HasSubstr("public exponent"));
  EXPECT_THAT(refusal(odd, ""), testing::Not("accepted"));
  EXPECT_THAT(refusal("", "\x03"), testing::Not("accepted"));
  EXPECT_THAT(refusal(std::string(2000, '\xff'), "\x03"), HasSubstr("1024 bytes"));
  EXPECT_THAT(refusal(odd, std::string(9, '\x03')), HasSubstr("exponent of 8"));
}

TEST(JwsKeyTest, PointsMustLieOnTheCurve) {
  const std::string one = std::string(31, '\0') + '\1';
  EXPECT_THAT(Refusal(JwsKey::FromEc(JwsAlgorithm::kEs256, one, one)), testing::Not("accepted"));
  EXPECT_THAT(Refusal(JwsKey::FromEc(JwsAlgorithm::kEs256, "x", one)), HasSubstr("32 bytes"));
  EXPECT_THAT(Refusal(JwsKey::FromEd("Ed25519", "short")), testing::Not("accepted"));
  EXPECT_THAT(Refusal(JwsKey::FromEd("X25519", std::string(32, 'x'))), HasSubstr("Ed448"));
}

}  // namespace
}  // namespace sluice::plugins
