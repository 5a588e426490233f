// Tokens, JSON and keys from outside: what is read fits what was sent, and only the one signature
// is accepted.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateway/base/base64.h"
#include "plugins/support/jwk.h"
#include "plugins/support/jws_key.h"
#include "plugins/support/jwt.h"

namespace {

using sluice::Base64;
using sluice::plugins::FlatJson;
using sluice::plugins::JwkSet;
using sluice::plugins::JwsAlgorithm;
using sluice::plugins::JwsKey;
using sluice::plugins::Jwt;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

void CheckBase64(std::string_view text) {
  for (const Base64 form : {Base64::kUrl, Base64::kStandard}) {
    const auto bytes = sluice::DecodeBase64(text, form);
    if (bytes) Require(sluice::EncodeBase64(*bytes, form) == text, "one spelling for all bytes");
    Require(sluice::DecodeBase64(sluice::EncodeBase64(text, form), form) == text, "there and back");
  }
}

void CheckTree(const FlatJson& json) {
  const auto& values = json.values();
  Require(!values.empty() && values.front().kind == FlatJson::Kind::kMap, "an object");
  Require(values.front().end == values.size(), "the object holds all values");
  for (const FlatJson::Value& outer : values) {
    for (const auto* at = json.First(outer); at != nullptr; at = json.Next(outer, *at)) {
      Require(at->end <= outer.end, "what is within ends within");
      Require(at->text.find('\0') == std::string_view::npos, "no text holds NUL");
      if (outer.kind == FlatJson::Kind::kMap) {
        Require(json.Find(outer, at->name) == at, "each member is there once");
      }
    }
  }
}

void CheckToken(Jwt& jwt, const JwsKey& key, std::string_view token) {
  if (!jwt.Parse(token).has_value()) return;
  Require(token.size() <= Jwt::kMaxBytes, "the size is limited");
  CheckTree(jwt.header());
  CheckTree(jwt.claims());
  Require(token == std::string(jwt.signing_input()) + "." +
                       sluice::EncodeBase64(jwt.signature(), Base64::kUrl),
          "nothing of the token is left out");
  (void)CheckClaims(jwt.claims(), {}, sluice::WallTime(sluice::seconds(1'800'000'000)));
  if (!key.Verify(jwt).has_value()) return;
  Require(jwt.algorithm() == "HS256", "the algorithm is that of the key");
  // A signed token of the corpus may come with other bytes only where nobody looks: nowhere.
  std::string changed(token);
  changed[token.size() / 2] = changed[token.size() / 2] == 'A' ? 'B' : 'A';
  Require(!jwt.Parse(changed).has_value() || !key.Verify(jwt).has_value(), "a change is seen");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const JwsKey key = JwsKey::FromSecret(JwsAlgorithm::kHs256, "secret").value();
  static Jwt jwt;  // as in a worker: one token leaves nothing for the next
  const std::string text(reinterpret_cast<const char*>(data), size);
  CheckBase64(text);
  CheckToken(jwt, key, text);
  // The same bytes as JSON of header and claims: what lies behind base64 is reached at once.
  const std::string json = sluice::EncodeBase64(text, Base64::kUrl);
  CheckToken(jwt, key, "eyJhbGciOiJIUzI1NiJ9." + json + ".c2ln");
  CheckToken(jwt, key, json + ".e30.c2ln");
  if (const auto set = JwkSet::Make(text); set.has_value()) {
    Require(!set->keys().empty() && set->keys().size() <= JwkSet::kMaxKeys, "some keys, not many");
    CheckToken(jwt, set->keys().front().key, text);
  }
  (void)JwsKey::FromPem(JwsAlgorithm::kEs256, text);
  return 0;
}
